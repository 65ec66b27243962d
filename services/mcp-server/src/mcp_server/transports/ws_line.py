"""One open WebSocket, as the loops of both eras are given it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.lowlevel.server import Server
from starlette.websockets import WebSocket

from mcp_server.fast_calls import FastCalls
from mcp_server.transports.under_way import UnderWay


@dataclass(frozen=True, slots=True)
class Line:
    """The messages that come over it are handed to a loop one by one; a request among them may begin (see `UnderWay.refusal`)."""

    websocket: WebSocket
    server: Server[dict[str, Any]]
    fast: FastCalls
    under_way: UnderWay
    send: Callable[[bytes], Awaitable[None]]
    """Sends a text frame; who has gone hears it no more."""

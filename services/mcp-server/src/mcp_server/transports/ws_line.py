"""One open WebSocket, as the loops of both eras are given it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from starlette.websockets import WebSocket

from devops_mcp.serving.websocket_protocol import Frames
from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.transports.frames import BadFrame, is_request, read_object
from mcp_server.transports.under_way import UnderWay


@dataclass(frozen=True, slots=True)
class Line:
    """The messages that come over it are handed to a loop one by one; a request among them may begin (see `UnderWay.refusal`)."""

    websocket: WebSocket
    server: Server[dict[str, Any]]
    fast: FastCalls
    under_way: UnderWay
    frames: Frames

    async def send(self, data: bytes) -> None:
        """Send a text frame; who has gone hears it no more."""
        await self.frames.send_text(data)

    async def begin_plain(self, request: dict[str, Any], connection: Connection | None = None) -> bool:
        """Begin a request by the short way; whether it is one that goes it. `connection` is that of the handshake era."""
        answering = await self.fast.prepare(request, self.websocket.scope, connection)
        if answering is not None:
            self.under_way.run(request["id"], self._answer(answering))
        return answering is not None

    @contextmanager
    def beginning_at_once(self, connection: Connection | None = None) -> Iterator[None]:
        """Within this block plain requests begin as they come, without the loop, as long as it has nothing else to do."""
        self.frames.offer(partial(self._begin_at_once, connection, copy_context()))
        try:
            yield
        finally:
            self.frames.offer(None)

    def _begin_at_once(self, connection: Connection | None, context: Context, raw: bytes) -> bool:
        """Called where bytes come, in nobody's context: `context` is that of the connection."""
        try:
            message = read_object(raw)
        except BadFrame:
            return False
        if not is_request(message) or self.under_way.refusal(message["id"]) is not None:
            return False
        answering = self.fast.prepare_now(message, self.websocket.scope, connection)
        if answering is not None:
            self.under_way.run(message["id"], self._answer(answering), context=context.copy())
        return answering is not None

    async def _answer(self, answering: Answering) -> None:
        await self.frames.send_text(await answering())

"""The SDK's loop of the handshake era, over whatever carries its messages.

Nothing waits between the loop and the wire, and nothing is copied: what it says goes to a function.
"""

import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeAlias

from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_connection
from mcp.shared._context_streams import create_context_streams
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage

Say: TypeAlias = Callable[[SessionMessage], Awaitable[None]]
_NUMBERS = 2**31
"""Clients there are whose ids have 32 bits."""


class SdkLoop:
    """Serves one client from `run` to `close`; `connection` is what the SDK knows of it."""

    def __init__(self, say: Say, *, session_id: str | None = None, waiting: int = 0) -> None:
        self._to_server, inbound = create_context_streams[SessionMessage | Exception](waiting)
        # As `serve_loop` has it: who sends more before `initialize` was answered has begun all the same.
        self._dispatcher = _Dispatcher(inbound, _Outbound(say), inline_methods=frozenset({"initialize"}))
        self.connection = Connection.for_loop(self._dispatcher, session_id=session_id)

    async def run(self, server: Server[dict[str, Any]]) -> None:
        """Serve until `close`; what is under way then is answered with an error."""
        await serve_connection(
            server,
            self._dispatcher,
            connection=self.connection,
            lifespan_state={},
            init_options=server.create_initialization_options(),
        )

    async def tell(self, message: SessionMessage) -> None:
        """Hand over a message of the client's."""
        await self._to_server.send(message)

    def close(self) -> None:
        """The client has nothing more to say."""
        self._to_server.close()


class _Dispatcher(JSONRPCDispatcher[Any]):
    """Numbers its questions at random: the client may still answer what an earlier connection, or another process of its session, asked."""

    def _allocate_id(self) -> int:
        return secrets.randbelow(_NUMBERS)


class _Outbound:
    """The stream that the loop writes to."""

    def __init__(self, say: Say) -> None:
        self._say = say

    async def send(self, item: SessionMessage, /) -> None:
        await self._say(item)

    async def aclose(self) -> None:
        """The loop is over; who ran it ends what carries the messages."""

    async def __aenter__(self) -> "_Outbound":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        return None

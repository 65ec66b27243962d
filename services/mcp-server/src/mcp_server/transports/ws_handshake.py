"""The handshake era over one WebSocket: plain requests by the short way, every other message by the SDK's loop.

A request is prepared before the next message is read, so that what goes to the loop arrives there in its order. Nothing else is shared
between the two ways but the SDK's connection, which knows the revision, and the ids of what is under way.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from mcp_server.transports.frames import BadFrame, error_to, has_envelope, is_request, modelled, written
from mcp_server.transports.sdk_loop import SdkLoop
from mcp_server.transports.under_way import CANCELLED
from mcp_server.transports.ws_line import Line


class HandshakeLoop:
    """The messages of one connection."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sdk = SdkLoop(self._say)

    async def run(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        """Answer until there are no more, or it is cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._take_all, messages)
            await self._sdk.run(self._line.server)
            tasks.cancel_scope.cancel()

    async def _take_all(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        try:
            with self._line.beginning_at_once(self._sdk.connection):
                async for message in messages:
                    try:
                        await self._take(message)
                    except BadFrame as fault:
                        await self._line.send(written(fault.answer).encode())
        finally:
            self._sdk.close()

    async def _take(self, message: dict[str, Any]) -> None:
        if is_request(message):
            await self._begin(message)
            return
        if message.get("method") == CANCELLED:
            self._line.under_way.cancel(message.get("params"))
        await self._sdk.tell(SessionMessage(modelled(message), self._metadata()))

    async def _begin(self, message: dict[str, Any]) -> None:
        if await self._line.begin_plain(message, self._sdk.connection):
            return
        request = modelled(message)
        if has_envelope(message) and message["method"] != "initialize":
            await self._line.send(written(_of_another_era(message["id"])).encode())
            return
        self._line.under_way.begin(message["id"])

        async def unanswered() -> None:
            self._line.under_way.ended(message["id"])

        await self._sdk.tell(SessionMessage(request, self._metadata(unanswered)))

    def _metadata(self, unanswered: Callable[[], Awaitable[None]] | None = None) -> ServerMessageMetadata:
        return ServerMessageMetadata(request_context=self._line.websocket, on_request_unanswered=unanswered)

    async def _say(self, said: SessionMessage) -> None:
        message = said.message
        await self._line.send(written(message).encode())
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self._line.under_way.ended(message.id)


def _of_another_era(request_id: str | int) -> types.JSONRPCError:
    fault = "this connection began with initialize: a request with an envelope of its own needs another"
    return error_to(request_id, types.ErrorData(code=types.INVALID_REQUEST, message=fault))

"""The handshake era over one WebSocket: plain requests by the short way, every other message by the SDK's loop.

A request is prepared before the next message is read, so that what goes to the loop arrives there in its order. Nothing else is shared
between the two ways but the SDK's connection, which knows the revision, and the ids of what is under way.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from starlette.websockets import WebSocket

from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.transports.frames import BadFrame, has_envelope, is_request, modelled
from mcp_server.transports.sdk_loop import SdkLoop
from mcp_server.transports.under_way import CANCELLED, UnderWay
from mcp_server.transports.ws_stateless import Send


class HandshakeLoop:
    """The messages of one connection."""

    def __init__(
        self,
        websocket: WebSocket,
        server: Server[dict[str, Any]],
        fast: FastCalls,
        under_way: UnderWay,
        send: Send,
    ) -> None:
        self._websocket = websocket
        self._server = server
        self._fast = fast
        self._under_way = under_way
        self._send = send
        self._sdk = SdkLoop(self._say)

    async def run(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        """Answer until there are no more, or it is cancelled; what is under way then ends."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take_all, messages)
                await self._sdk.run(self._server)
                tasks.cancel_scope.cancel()
        finally:
            await asyncio.shield(self._under_way.close())

    async def _take_all(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        try:
            async for message in messages:
                try:
                    await self._take(message)
                except BadFrame as fault:
                    await self._send(_written(fault.answer))
        finally:
            self._sdk.close()

    async def _take(self, message: dict[str, Any]) -> None:
        if is_request(message):
            await self._begin(message)
            return
        if message.get("method") == CANCELLED:
            self._under_way.cancel(message.get("params"))
        await self._sdk.tell(
            SessionMessage(modelled(message), ServerMessageMetadata(request_context=self._websocket))
        )

    async def _begin(self, message: dict[str, Any]) -> None:
        request_id = message["id"]
        if request_id not in self._under_way:
            answering = await self._fast.prepare(message, self._websocket.scope, self._sdk.connection)
            if answering is not None:
                self._under_way.run(request_id, self._run(answering))
                return
        request = modelled(message)
        if has_envelope(message) and message["method"] != "initialize":
            await self._send(_written(_of_another_era(request_id)))
            return
        self._under_way.begin(request_id)

        async def unanswered() -> None:
            self._under_way.ended(request_id)

        metadata = ServerMessageMetadata(request_context=self._websocket, on_request_unanswered=unanswered)
        await self._sdk.tell(SessionMessage(request, metadata))

    async def _run(self, answering: Answering) -> None:
        await self._send((await answering()).decode())

    async def _say(self, said: SessionMessage) -> None:
        message = said.message
        await self._send(_written(message))
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self._under_way.ended(message.id)


def _written(message: types.JSONRPCMessage) -> str:
    return message.model_dump_json(by_alias=True, exclude_unset=True)


def _of_another_era(request_id: str | int) -> types.JSONRPCError:
    fault = "this connection began with initialize: a request with an envelope of its own needs another"
    return types.JSONRPCError(
        jsonrpc="2.0", id=request_id, error=types.ErrorData(code=types.INVALID_REQUEST, message=fault)
    )

"""The protocol over WebSocket.

Connection: `GET /ws` with the credential in a header; subprotocol `mcp`, if the client offers any. Framing: one JSON-RPC message a
text frame. Cancellation: `notifications/cancelled`. The first request decides the era, as on stdio: a 2026-07-28 envelope, or
`initialize`. A connection belongs to one principal and needs no stickiness: whichever replica it reached serves it. Before a restart,
what is under way is answered and the connection closed with 1012.
"""

import asyncio
from typing import Any, TypeAlias, TypeGuard

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared._context_streams import ContextReceiveStream, ContextSendStream, create_context_streams
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from starlette.websockets import WebSocket

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.models.errors import PlatformError
from devops_mcp.serving import problems
from mcp_server.caller import SCOPE_KEY, Caller
from mcp_server.transports.frames import BadFrame, read_frame

SUBPROTOCOL = "mcp"
RESTARTING = 1012
DRAIN_S = 10.0

Inbound: TypeAlias = SessionMessage | Exception


class WebSocketEndpoint:
    """Accepts a client that is known, and serves it until it goes or `stop` is set."""

    def __init__(
        self, server: Server[dict[str, Any]], authenticator: Authenticator, stop: asyncio.Event
    ) -> None:
        self._server = server
        self._authenticator = authenticator
        self._stop = stop

    async def serve(self, websocket: WebSocket) -> None:
        caller = Caller(self._authenticator, websocket.headers)
        try:
            await caller.principal()
        except PlatformError as error:
            await websocket.send_denial_response(problems.of_error(error, websocket.state.request_id))
            return
        websocket.scope[SCOPE_KEY] = caller
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
        await _Conversation(websocket, self._server, self._stop).run()


class _Conversation:
    """One connection: a reader and a writer around the SDK's loop, and what ends them."""

    def __init__(self, websocket: WebSocket, server: Server[dict[str, Any]], stop: asyncio.Event) -> None:
        self._websocket = websocket
        self._server = server
        self._stop = stop
        self._under_way: set[str | int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        to_server, inbound = create_context_streams[Inbound](0)
        from_server, outbound = create_context_streams[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, to_server)
            tasks.start_soon(self._write, outbound)
            tasks.start_soon(self._close_at_stop, tasks.cancel_scope)
            await serve_dual_era_loop(
                self._server,
                inbound,
                from_server,
                lifespan_state={},
                init_options=self._server.create_initialization_options(),
            )
            tasks.cancel_scope.cancel()

    async def _read(self, to_server: ContextSendStream[Inbound]) -> None:
        async with to_server:
            while (received := await self._websocket.receive())["type"] != "websocket.disconnect":
                text = received.get("text")
                try:
                    message = read_frame(text.encode() if text is not None else received["bytes"])
                except BadFrame as fault:
                    await self._send(fault.answer)
                    continue
                if _is_handshake_of_a_stateless_client(message):
                    # The SDK takes `initialize` for another era's greeting; in this one the method is gone.
                    await self._send(_no_such_method(message))
                    continue
                self._note_request(message)
                metadata = ServerMessageMetadata(request_context=self._websocket)
                await to_server.send(SessionMessage(message, metadata))

    async def _write(self, outbound: ContextReceiveStream[SessionMessage]) -> None:
        async with outbound:
            async for message in outbound:
                await self._send(message.message)
                self._note_answer(message.message)

    async def _send(self, message: types.JSONRPCMessage) -> None:
        await self._websocket.send_text(message.model_dump_json(by_alias=True, exclude_unset=True))

    def _note_request(self, message: types.JSONRPCMessage) -> None:
        # A stream of subscriptions never ends by itself, so nobody waits for it.
        if isinstance(message, types.JSONRPCRequest) and message.method != "subscriptions/listen":
            self._under_way.add(message.id)
            self._idle.clear()

    def _note_answer(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
            self._under_way.discard(message.id)
            if not self._under_way:
                self._idle.set()

    async def _close_at_stop(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        with anyio.move_on_after(DRAIN_S):
            await self._idle.wait()
        await self._websocket.close(RESTARTING, "the server restarts; connect again")
        scope.cancel()


def _is_handshake_of_a_stateless_client(message: types.JSONRPCMessage) -> TypeGuard[types.JSONRPCRequest]:
    if not isinstance(message, types.JSONRPCRequest) or message.method != "initialize":
        return False
    meta = (message.params or {}).get("_meta")
    return isinstance(meta, dict) and types.PROTOCOL_VERSION_META_KEY in meta


def _no_such_method(request: types.JSONRPCRequest) -> types.JSONRPCError:
    error = types.ErrorData(code=types.METHOD_NOT_FOUND, message="Method not found", data=request.method)
    return types.JSONRPCError(jsonrpc="2.0", id=request.id, error=error)

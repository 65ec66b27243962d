"""The protocol over WebSocket.

Connection: `GET /ws` with the credential in a header; subprotocol `mcp`, if the client offers any. Framing: one JSON-RPC message a
text frame. Cancellation: `notifications/cancelled`. The first request decides the era, as on stdio: a 2026-07-28 envelope, or
`initialize`. A connection belongs to one principal and needs no stickiness: whichever replica it reached serves it. Before a restart,
what is under way is answered and the connection closed with 1012.
"""

import asyncio
from typing import Any, TypeAlias

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
from mcp_server.fast_calls import FastCalls
from mcp_server.transports.frames import BadFrame, read_frame, read_object
from mcp_server.transports.ws_stateless import StatelessLoop

SUBPROTOCOL = "mcp"
RESTARTING = 1012
DRAIN_S = 10.0

Inbound: TypeAlias = SessionMessage | Exception


class WebSocketEndpoint:
    """Accepts a client that is known, and serves it until it goes or `stop` is set."""

    def __init__(
        self,
        server: Server[dict[str, Any]],
        authenticator: Authenticator,
        stop: asyncio.Event,
        fast: FastCalls | None = None,
    ) -> None:
        self._server = server
        self._authenticator = authenticator
        self._stop = stop
        self._fast = fast

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
        await _Conversation(websocket, self._server, self._stop, self._fast).run()


class _Conversation:
    """One connection: by our own framing where its first request stands alone, else by the SDK's loop; and what ends them."""

    def __init__(
        self,
        websocket: WebSocket,
        server: Server[dict[str, Any]],
        stop: asyncio.Event,
        fast: FastCalls | None,
    ) -> None:
        self._websocket = websocket
        self._server = server
        self._stop = stop
        self._fast = fast
        self._under_way: set[str | int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        first = await self._next()
        if first is None:
            return
        if has_envelope(first):
            await self._run_stateless(first)
        else:
            await self._run_handshake(first)

    async def _run_stateless(self, first: bytes) -> None:
        loop = StatelessLoop(self._websocket, self._server, self._fast, self._websocket.send_text)
        self._idle = loop.idle
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._close_at_stop, tasks.cancel_scope)
            try:
                await loop.take(first)
                while (raw := await self._next()) is not None:
                    await loop.take(raw)
            finally:
                with anyio.CancelScope(shield=True):
                    await loop.close()
            tasks.cancel_scope.cancel()

    async def _next(self) -> bytes | None:
        """The next frame; None when the client has gone."""
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            return None
        text = received.get("text")
        return text.encode() if text is not None else received["bytes"]  # type: ignore[no-any-return]

    async def _run_handshake(self, first: bytes) -> None:
        to_server, inbound = create_context_streams[Inbound](0)
        from_server, outbound = create_context_streams[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, to_server, first)
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

    async def _read(self, to_server: ContextSendStream[Inbound], first: bytes) -> None:
        async with to_server:
            raw: bytes | None = first
            while raw is not None:
                try:
                    message = read_frame(raw)
                except BadFrame as fault:
                    await self._send(fault.answer)
                else:
                    self._note_request(message)
                    metadata = ServerMessageMetadata(request_context=self._websocket)
                    await to_server.send(SessionMessage(message, metadata))
                raw = await self._next()

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


def has_envelope(raw: bytes) -> bool:
    """Whether a frame is a request that stands alone; what cannot be read is judged by whoever answers it."""
    try:
        params = read_object(raw).get("params")
    except BadFrame:
        return False
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and types.PROTOCOL_VERSION_META_KEY in meta

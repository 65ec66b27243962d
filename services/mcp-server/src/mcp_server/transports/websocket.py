"""The protocol over WebSocket.

Connection: `GET /ws` with the credential in a header, or a ticket in the address; subprotocol `mcp`, if the client offers any. Framing:
one JSON-RPC message a text frame. Cancellation: `notifications/cancelled`. The first request decides the era, as on stdio: a 2026-07-28
envelope, or `initialize`. A connection belongs to one principal and needs no stickiness: whichever replica it reached serves it. It ends
with its credential (4401), unless it is given another in time. Before a restart, what is under way is answered and the connection closed
with 1012.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import anyio
import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.shared._context_streams import ContextReceiveStream, ContextSendStream, create_context_streams
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from starlette.websockets import WebSocket

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.models.errors import PlatformError, Unauthenticated
from devops_mcp.models.principals import Principal
from devops_mcp.serving import problems
from mcp_server.caller import SCOPE_KEY, Caller
from mcp_server.fast_calls import FastCalls
from mcp_server.handlers.subscriptions import LEFT_KEY, SUBSCRIBED_KEY
from mcp_server.transports.frames import BadFrame, read_frame, read_object
from mcp_server.transports.ws_renewal import answer_of_renewal
from mcp_server.transports.ws_resumption import Resumption
from mcp_server.transports.ws_stateless import StatelessLoop
from mcp_server.transports.ws_tickets import Tickets

SUBPROTOCOL = "mcp"
SESSION_ID = "mcp-session-id"
RESTARTING = 1012
REVOKED = 4401
SWEEP_S = 1.0
"""With the seconds that a key is remembered, a revoked one is out within five."""
DRAIN_S = 10.0

Inbound: TypeAlias = SessionMessage | Exception


class WebSocketEndpoint:
    """Accepts a client that is known, and serves it until it goes or `stop` is set."""

    def __init__(
        self,
        server: Server[dict[str, Any]],
        authenticator: Authenticator,
        stop: asyncio.Event,
        tickets: Tickets,
        resumption: Resumption,
        fast: FastCalls | None = None,
    ) -> None:
        self._server = server
        self._authenticator = authenticator
        self._stop = stop
        self._tickets = tickets
        self._resumption = resumption
        self._fast = fast
        self._open: set[_Conversation] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within this block connections end with their credentials."""
        sweeping = asyncio.create_task(self._sweep(), name="websocket credentials")
        try:
            yield
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def serve(self, websocket: WebSocket) -> None:
        try:
            caller = Caller(self._authenticator, await self._credential(websocket))
            principal = await caller.principal()
        except PlatformError as error:
            await websocket.send_denial_response(problems.of_error(error, websocket.state.request_id))
            return
        websocket.scope[SCOPE_KEY] = caller
        offered = websocket.scope.get("subprotocols", [])
        session_id = await self._session(websocket, principal)
        await websocket.accept(
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
            headers=[(SESSION_ID.encode(), session_id.encode())],
        )
        conversation = _Conversation(websocket, self._server, self._stop, self._fast)
        self._open.add(conversation)
        try:
            await conversation.run()
        finally:
            self._open.discard(conversation)
            if subscribed := websocket.scope.get(SUBSCRIBED_KEY):
                await asyncio.shield(self._resumption.leave(session_id, principal, frozenset(subscribed)))

    async def _session(self, websocket: WebSocket, principal: Principal) -> str:
        """The connection's session id: the one that the client comes back with, if it left something, else a new one."""
        named = websocket.headers.get(SESSION_ID) or websocket.query_params.get("session")
        left = await self._resumption.come_back(named, principal) if named else None
        if named is None or left is None:
            return secrets.token_urlsafe(24)
        websocket.scope[LEFT_KEY] = left
        return named

    async def _credential(self, websocket: WebSocket) -> Mapping[str, str]:
        """The headers, or what a ticket stands for: nothing else in an address is taken for a credential."""
        ticket = websocket.query_params.get("ticket")
        return websocket.headers if ticket is None else await self._tickets.redeem(ticket)

    async def _sweep(self) -> None:
        """Close connections whose credential no longer holds, or may less: who comes back is subscribed to what it may still read.

        Who asks is remembered, so that a key in use costs one look.
        """
        while True:
            await asyncio.sleep(SWEEP_S)
            for conversation in list(self._open):
                caller: Caller = conversation.websocket.scope[SCOPE_KEY]
                try:
                    if await caller.may_less():
                        conversation.end(RESTARTING, "the caller's rights have changed; connect again")
                except Unauthenticated:
                    conversation.end(REVOKED, "the credential is no longer valid")
                except PlatformError:
                    break  # nobody can be asked now


class _Conversation:
    """One connection: by our own framing where its first request stands alone, else by the SDK's loop; and what ends them."""

    def __init__(
        self,
        websocket: WebSocket,
        server: Server[dict[str, Any]],
        stop: asyncio.Event,
        fast: FastCalls | None,
    ) -> None:
        self.websocket = websocket
        self._server = server
        self._stop = stop
        self._fast = fast
        self._ending: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._under_way: set[str | int] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Serve the client until it goes, or until it must."""
        serving = asyncio.create_task(self._serve(), name="websocket")
        stopping = asyncio.create_task(self._close_at_stop(), name="websocket stop")
        try:
            ends: set[asyncio.Future[Any]] = {serving, self._ending}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self.websocket.close(*self._ending.result())
        finally:
            for task in (serving, stopping):
                task.cancel()
            await asyncio.gather(serving, stopping, return_exceptions=True)
        if serving.done() and not serving.cancelled() and (error := serving.exception()) is not None:
            raise error

    def end(self, code: int, reason: str) -> None:
        """Close the connection, whatever is under way."""
        if not self._ending.done():
            self._ending.set_result((code, reason))

    async def _serve(self) -> None:
        first = await self._next()
        if first is None:
            return
        if has_envelope(first):
            await self._run_stateless(first)
        else:
            await self._run_handshake(first)

    async def _run_stateless(self, first: bytes) -> None:
        loop = StatelessLoop(self.websocket, self._server, self._fast, self.websocket.send_text)
        self._idle = loop.idle
        try:
            await loop.take(first)
            while (raw := await self._next()) is not None:
                await loop.take(raw)
        finally:
            await asyncio.shield(loop.close())

    async def _next(self) -> bytes | None:
        """The next frame of the protocol; None when the client has gone."""
        caller: Caller = self.websocket.scope[SCOPE_KEY]
        while (raw := await self._frame()) is not None:
            answer = await answer_of_renewal(raw, caller)
            if answer is None:
                return raw
            await self.websocket.send_text(answer)
        return None

    async def _frame(self) -> bytes | None:
        received = await self.websocket.receive()
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
                    metadata = ServerMessageMetadata(request_context=self.websocket)
                    await to_server.send(SessionMessage(message, metadata))
                raw = await self._next()

    async def _write(self, outbound: ContextReceiveStream[SessionMessage]) -> None:
        async with outbound:
            async for message in outbound:
                await self._send(message.message)
                self._note_answer(message.message)

    async def _send(self, message: types.JSONRPCMessage) -> None:
        await self.websocket.send_text(message.model_dump_json(by_alias=True, exclude_unset=True))

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

    async def _close_at_stop(self) -> None:
        await self._stop.wait()
        with anyio.move_on_after(DRAIN_S):
            await self._idle.wait()
        self.end(RESTARTING, "the server restarts; connect again")


def has_envelope(raw: bytes) -> bool:
    """Whether a frame is a request that stands alone; what cannot be read is judged by whoever answers it."""
    try:
        params = read_object(raw).get("params")
    except BadFrame:
        return False
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and types.PROTOCOL_VERSION_META_KEY in meta

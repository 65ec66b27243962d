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
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
from mcp.server.lowlevel.server import Server
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from devops_mcp.models.errors import PlatformError, Unauthenticated
from devops_mcp.models.principals import Principal
from devops_mcp.serving import problems
from devops_mcp.serving.websocket_protocol import FRAMES, Frames
from mcp_server.caller import SCOPE_KEY, Caller, Entrance
from mcp_server.fast_calls import FastCalls
from mcp_server.handlers.subscriptions import LEFT_KEY, SUBSCRIBED_KEY
from mcp_server.transports.frames import BadFrame, error_to, has_envelope, is_request, read_object, written
from mcp_server.transports.under_way import UnderWay
from mcp_server.transports.ws_handshake import HandshakeLoop
from mcp_server.transports.ws_line import Line
from mcp_server.transports.ws_renewal import METHOD as RENEWAL
from mcp_server.transports.ws_renewal import answer_of_renewal
from mcp_server.transports.ws_resumption import Resumption
from mcp_server.transports.ws_stateless import LISTEN, StatelessLoop
from mcp_server.transports.ws_tickets import Tickets

SUBPROTOCOL = "mcp"
SESSION_ID = "mcp-session-id"
RESTARTING = 1012
REVOKED = 4401
SWEEP_S = 1.0
"""With the seconds that a key is remembered, a revoked one is out within five."""
DRAIN_S = 10.0
MAX_BEFORE = 8
"""So many messages that come before the first request are kept for whoever will answer it."""


class WebSocketEndpoint:
    """Accepts a client that is known, and serves it until it goes or `stop` is set."""

    def __init__(
        self,
        server: Server[dict[str, Any]],
        entrance: Entrance,
        stop: asyncio.Event,
        tickets: Tickets,
        resumption: Resumption,
        fast: FastCalls,
    ) -> None:
        self._server = server
        self._entrance = entrance
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
        with ExitStack() as place:
            try:
                principal = await self._entrance.admit(websocket.scope, await self._credential(websocket))
                self._entrance.lay_out(websocket.scope)
                place.enter_context(self._entrance.lasting.held(principal))
            except PlatformError as error:
                await websocket.send_denial_response(problems.of_error(error, websocket.state.request_id))
                return
            await self._converse(websocket, principal)

    async def _converse(self, websocket: WebSocket, principal: Principal) -> None:
        offered = websocket.scope.get("subprotocols", [])
        session_id = await self._session(websocket, principal)
        await websocket.accept(
            subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
            headers=[(SESSION_ID.encode(), session_id.encode())],
        )
        frames: Frames = websocket.scope["extensions"][FRAMES]
        conversation = _Conversation(websocket, frames, self._server, self._fast, self._stop)
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
    """One connection: in the era that its first request is of; and what ends it."""

    def __init__(
        self,
        websocket: WebSocket,
        frames: Frames,
        server: Server[dict[str, Any]],
        fast: FastCalls,
        stop: asyncio.Event,
    ) -> None:
        self.websocket = websocket
        self._frames = frames
        self._server = server
        self._fast = fast
        self._stop = stop
        self._ending: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._under_way = UnderWay()

    async def run(self) -> None:
        """Serve the client until it goes, or until it must."""
        serving = asyncio.create_task(self._serve(), name="websocket")
        stopping = asyncio.create_task(self._close_at_stop(), name="websocket stop")
        try:
            ends: set[asyncio.Future[Any]] = {serving, self._ending}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                with suppress(WebSocketDisconnect, WebSocketDisconnected):
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
        opening: list[dict[str, Any]] = []
        while (message := await self._next()) is not None:
            if len(opening) < MAX_BEFORE or is_request(message):
                opening.append(message)
            if is_request(message):
                line = Line(self.websocket, self._server, self._fast, self._under_way, self._frames)
                loop = StatelessLoop(line) if has_envelope(message) else HandshakeLoop(line)
                try:
                    await loop.run(self._messages(opening))
                finally:
                    await asyncio.shield(self._under_way.close())
                return

    async def _messages(self, opening: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """What came so far, and what comes, of which one a turn of the loop: who sends sixty at once waits for the others' one."""
        for message in opening:
            yield message
        opening.clear()
        while (following := await self._next()) is not None:
            yield following
            if self._frames.waiting:
                await asyncio.sleep(0)

    async def _next(self) -> dict[str, Any] | None:
        """The next message of the protocol that is not answered at once; None when the client has gone."""
        while (raw := await self._frames.next_message()) is not None:
            try:
                message = read_object(raw)
            except BadFrame as fault:
                await self._frames.send_text(written(fault.answer).encode())
                continue
            answer = await self._answer_at_once(message) if is_request(message) else None
            if answer is None:
                return message
            await self._frames.send_text(answer)
        return None

    async def _answer_at_once(self, request: dict[str, Any]) -> bytes | None:
        """The answer to a request that concerns the connection itself, or that cannot begin now."""
        if request["method"] == RENEWAL:
            return await answer_of_renewal(request, self.websocket.scope[SCOPE_KEY])
        fault = self._under_way.refusal(request["id"], is_endless=request["method"] == LISTEN)
        return None if fault is None else written(error_to(request["id"], fault)).encode()

    async def _close_at_stop(self) -> None:
        await self._stop.wait()
        with anyio.move_on_after(DRAIN_S):
            await self._under_way.idle.wait()
        self.end(RESTARTING, "the server restarts; connect again")

"""The protocol over Streamable HTTP, of every revision, on every replica.

A request of 2026-07-28 stands alone and is answered by the SDK's own entry, a plain call of a tool by a shorter way. One of the handshake
era belongs to a session, wherever that lives: see `http_handshake`. Host and Origin have been checked by the surface in front of this.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Message, Receive, Scope, Send

from devops_mcp.models.principals import Principal
from mcp_server.authorization import NarrowTokens
from mcp_server.caller import Entrance
from mcp_server.fast_calls import FastCalls
from mcp_server.transports.http_exchange import (
    SESSION_ID,
    Exchange,
    header,
    open_exchange,
    replayed,
)
from mcp_server.transports.http_fast import HttpFast
from mcp_server.transports.http_handshake import Handshake
from mcp_server.transports.http_sessions import Sessions

PATH = "/mcp"
_VERSION = b"mcp-protocol-version"
_METHOD = b"mcp-method"
_LISTEN = "subscriptions/listen"


class HttpEndpoint:
    """An ASGI application for `/mcp`. It answers while `running`."""

    def __init__(
        self,
        server: Server[dict[str, Any]],
        entrance: Entrance,
        sessions: Sessions,
        *,
        max_body_bytes: int,
        fast: FastCalls | None = None,
        narrow: NarrowTokens | None = None,
    ) -> None:
        # Of the manager only the entry for requests that stand alone is used; its sessions are of one process.
        self._modern = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=max_body_bytes
        )
        self._entrance = entrance
        self._fast = None if fast is None else HttpFast(fast)
        self._narrow = narrow
        self._handshake = Handshake(sessions)
        self._stop = asyncio.Event()
        sessions.serves(PATH, self)

    @asynccontextmanager
    async def running(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Answer within this block; subscriptions end when `stop` is set."""
        self._stop = stop
        async with self._modern.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session_id = header(scope, SESSION_ID.encode())
        exchange = await open_exchange(self._entrance, scope, receive, send, session_id)
        if exchange is None:
            return
        if self._narrow and (refusal := self._narrow.refusal(scope, exchange.principal, exchange.message)):
            await exchange.respond(refusal)
            return
        version = header(scope, _VERSION)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            await exchange.or_problem(self._of_session(exchange))
            return
        if self._fast is not None and await self._fast.answered(exchange):
            return
        scope["user"] = _user(exchange.principal)
        if header(scope, _METHOD) == _LISTEN:
            await exchange.or_problem(self._listen(exchange))
        else:
            await self._modern.handle_request(scope, replayed(exchange.body, receive), send)

    async def _of_session(self, exchange: Exchange) -> None:
        """What is forwarded is a connection of the replica that it came to."""
        if exchange.scope["method"] != "GET" or exchange.is_forwarded:
            await self._handshake.answer(exchange)
            return
        with self._entrance.lasting.held(exchange.principal):
            await self._handshake.answer(exchange)

    async def _listen(self, exchange: Exchange) -> None:
        """A subscription has no end of its own: it ends with the client, with its credential, and before a restart."""
        with self._entrance.lasting.held(exchange.principal):
            await self._subscribe(exchange)

    async def _subscribe(self, exchange: Exchange) -> None:
        answer = _Open(exchange.send)
        served = asyncio.create_task(
            self._modern.handle_request(
                exchange.scope, replayed(exchange.body, exchange.receive), answer.send
            ),
            name="http subscription",
        )
        ends = {
            served,
            asyncio.create_task(self._stop.wait(), name="subscription stop"),
            asyncio.create_task(exchange.until_revoked(), name="subscription credential"),
        }
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        await answer.close()


class _Open:
    """Passes an answer on, and can end it where it stands."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_open = False

    async def send(self, message: Message) -> None:
        self._is_open = message["type"] == "http.response.start" or message.get("more_body", False)
        await self._send(message)

    async def close(self) -> None:
        if self._is_open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _user(principal: Principal) -> AuthenticatedUser:
    """What the SDK knows a caller by."""
    return AuthenticatedUser(
        AccessToken(token="", client_id=str(principal.id), scopes=[], subject=str(principal.tenant_id))
    )

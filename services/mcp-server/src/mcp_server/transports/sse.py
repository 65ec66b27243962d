"""HTTP+SSE of 2024-11-05: GET `/sse` opens a stream that first names where to POST, `/messages/?session_id=…`.

The stream is the session: it lives on the process that holds it and ends with it. A POST may reach any replica. A session belongs to
the principal that opened it; another's is answered like one that does not exist. Host and Origin have been checked by the surface.
"""

from urllib.parse import parse_qs
from uuid import uuid4

import mcp_types as types
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from devops_mcp.cache.message_log import Positions
from devops_mcp.cache.sessions import SessionRecord
from mcp_server.caller import Entrance
from mcp_server.transports.http_exchange import Exchange, open_exchange
from mcp_server.transports.http_session import OneStreamSession
from mcp_server.transports.http_sessions import Sessions
from mcp_server.transports.http_streams import EventStream

STREAM_PATH = "/sse"
MESSAGES_PATH = "/messages"


class Application:
    """A method as an ASGI application: Starlette takes bare methods for endpoints of its own kind."""

    def __init__(self, serve: ASGIApp) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


class SseEndpoint:
    """`stream` and `messages` are the ASGI applications of the two paths."""

    def __init__(self, entrance: Entrance, sessions: Sessions) -> None:
        self._entrance = entrance
        self._sessions = sessions
        self.stream = Application(self._open)
        self.messages = Application(self._post)
        sessions.serves(MESSAGES_PATH, self.messages)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = await open_exchange(self._entrance, scope, receive, send, None)
        if exchange is not None:
            await exchange.or_problem(self._begin(exchange))

    async def _begin(self, exchange: Exchange) -> None:
        with self._entrance.lasting.held(exchange.principal):
            await self._stream(exchange)

    async def _stream(self, exchange: Exchange) -> None:
        if not await self._sessions.admit(exchange.principal.id):
            await exchange.respond(PlainTextResponse("too many sessions are open here", 503))
            return
        record = SessionRecord(
            tenant_id=exchange.principal.tenant_id,
            principal_id=exchange.principal.id,
            lasting=False,
            began_with={},
        )
        sessions = self._sessions
        session = OneStreamSession(uuid4().hex, record, Positions(), None, sessions.fast, sessions.save)
        self._sessions.start(session)
        await self._sessions.save(session)
        try:
            await self._serve(session, exchange)
        finally:
            await self._sessions.end(session)

    async def _serve(self, session: OneStreamSession, exchange: Exchange) -> None:
        events = EventStream(exchange.receive, exchange.send, [])
        await events.begin()
        path = MESSAGES_PATH + (exchange.scope["path"].removeprefix(STREAM_PATH) or "/")
        await events.event("endpoint", f"{path}?session_id={session.id}".encode())
        with session.standalone.read() as reader, exchange.closing_when_revoked(reader):
            await events.pump(reader, stream=None)
        await events.end()

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]
        exchange = await open_exchange(self._entrance, scope, receive, send, named)
        if exchange is not None:
            await exchange.or_problem(self._take(exchange))

    async def _take(self, exchange: Exchange) -> None:
        async def not_found() -> None:
            await exchange.respond(PlainTextResponse("there is no such session", 404))

        session = await self._sessions.find(exchange, not_found)
        if session is None:
            return
        if isinstance(exchange.message, types.JSONRPCRequest):
            if (refused := session.refusal(exchange.message.id)) is not None:
                status, fault = refused
                await exchange.respond(PlainTextResponse(fault.message, status))
                return
            await session.ask(exchange.message, exchange.request)
        elif exchange.message is not None:
            await session.take(exchange.message, exchange.request)
        await exchange.respond(Response("Accepted", 202))

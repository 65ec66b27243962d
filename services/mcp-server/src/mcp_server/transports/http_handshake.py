"""Streamable HTTP of the handshake era: `initialize` begins a session, `Mcp-Session-Id` names it, DELETE ends it.

A session belongs to the principal that began it; another's is answered like one that does not exist.
"""

import asyncio
from uuid import uuid4

import mcp_types as types
import orjson
from starlette.responses import Response

from devops_mcp.cache.message_log import Positions
from devops_mcp.cache.sessions import SessionRecord
from devops_mcp.models.errors import Unavailable
from mcp_server.transports.frames import has_envelope
from mcp_server.transports.http_answers import (
    answer_get,
    answer_initialize,
    answer_post,
    final_of,
)
from mcp_server.transports.http_exchange import Exchange, header
from mcp_server.transports.http_session import Session
from mcp_server.transports.http_sessions import Sessions
from mcp_server.transports.http_streams import Outgoing, Stream
from mcp_server.transports.under_way import TOO_MANY

_BEGUN_WITHIN_S = 10.0


class Handshake:
    """Answers the exchanges of the handshake era."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def answer(self, exchange: Exchange) -> None:
        if not await _is_acceptable(exchange):
            return
        if exchange.session_id is None:
            await self._begin(exchange)
            return

        async def not_found() -> None:
            await exchange.refuse(404, "there is no such session; begin one with initialize")

        session = await self._sessions.find(exchange, not_found)
        if session is None:
            return
        method = exchange.scope["method"]
        if method == "POST":
            await answer_post(session, exchange)
        elif method == "GET":
            await answer_get(session, exchange, header(exchange.scope, b"last-event-id"))
        else:
            await self._sessions.end(session)
            await exchange.respond(Response(status_code=200))

    async def _begin(self, exchange: Exchange) -> None:
        message = exchange.message
        if not isinstance(message, types.JSONRPCRequest) or message.method != "initialize":
            await _refuse_without_session(exchange)
            return
        if not await self._sessions.admit(exchange.principal.id):
            await exchange.refuse(503, "too many sessions are open here", TOO_MANY)
            return
        session = self._new(exchange, message)
        self._sessions.start(session)
        answer = await _first_answer(await session.ask(message, exchange.request))
        await self._settle(exchange, session, answer)

    def _new(self, exchange: Exchange, message: types.JSONRPCRequest) -> Session:
        record = SessionRecord(
            tenant_id=exchange.principal.tenant_id,
            principal_id=exchange.principal.id,
            lasting=True,
            began_with=message.params or {},
        )
        of_all = self._sessions
        return Session(uuid4().hex, record, Positions(), of_all.log, of_all.fast, of_all.save)

    async def _settle(self, exchange: Exchange, session: Session, answer: Outgoing | None) -> None:
        if answer is not None and "error" not in orjson.loads(answer.body):
            await self._sessions.save(session)
            await answer_initialize(exchange, session, answer)
            return
        await self._sessions.end(session)
        if answer is None:
            raise Unavailable("the session did not begin in time", retry_after_s=1)
        await exchange.respond(Response(answer.body, media_type="application/json"))


async def _refuse_without_session(exchange: Exchange) -> None:
    message = exchange.message
    if isinstance(message, types.JSONRPCRequest) and has_envelope({"params": message.params}):
        fault = "the MCP-Protocol-Version header must name the revision that the request's envelope names"
        await exchange.refuse(400, fault, types.HEADER_MISMATCH)
    else:
        await exchange.refuse(400, "the Mcp-Session-Id header is missing; a session begins with initialize")


async def _is_acceptable(exchange: Exchange) -> bool:
    if exchange.scope["method"] != "POST":
        return True
    if exchange.message is None:
        await exchange.refuse(400, "a POST carries a JSON-RPC message")
        return False
    media_type = (header(exchange.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        await exchange.refuse(415, "a POST carries Content-Type: application/json")
        return False
    if not any(exchange.accepts()):
        await exchange.refuse(406, "a POST needs Accept: application/json, text/event-stream")
        return False
    return True


async def _first_answer(stream: Stream) -> Outgoing | None:
    with stream.read() as reader:
        try:
            async with asyncio.timeout(_BEGUN_WITHIN_S):
                return await final_of(reader)
        except TimeoutError:
            return None

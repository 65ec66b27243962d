"""The sessions of the handshake era over HTTP: those that live here, and the way to those that live on other replicas.

A request for another's session is forwarded to the replica that has it. Where that replica is gone, the session is rebuilt here from
its record: the SDK's loop is given again what the client began with and what it asked for since. The client notices a dropped stream.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import mcp_types as types
import structlog
from mcp.server.lowlevel.server import Server
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.message_log import LogLimits, MessageLog, Position, Positions
from devops_mcp.cache.replicas import Replicas
from devops_mcp.cache.sealing import Seal
from devops_mcp.cache.sessions import FoundSession, SessionRecord, SessionRecords
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import Unavailable
from mcp_server.fast_calls import FastCalls
from mcp_server.transports.http_answers import answer_broken_off, final_of
from mcp_server.transports.http_exchange import Exchange
from mcp_server.transports.http_relay import Lost, Relay
from mcp_server.transports.http_session import Session

log = structlog.get_logger()

IDLE_S = 1_800
"""After so long without a request or an open stream a session ends."""
SWEEP_S = 15.0
MAX_SESSIONS = 10_000
MAX_EACH = 1_000
"""Of these, so many are one principal's; a client that begins ever new ones loses those that it left."""
DRAIN_S = 10.0
"""From the stop on; others' requests have as long, and so have those over WebSocket."""
_SPARE_S = 120
_REBUILT_WITHIN_S = 5.0
_ATTEMPTS = 3
_AHEAD_MS = 1_000
"""How far a rebuilt session counts ahead of the last message that is kept: some later ones may have been told and lost."""


class Sessions:
    """One a process, for Streamable HTTP and for HTTP+SSE. `running` answers other replicas and ends what nobody uses."""

    def __init__(
        self,
        server: Server[dict[str, Any]],
        replicas: Replicas,
        records: SessionRecords,
        message_log: MessageLog,
        fast: FastCalls | None,
        *,
        idle_s: float = IDLE_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self.log = message_log
        self.fast = fast
        self._server = server
        self._replicas = replicas
        self._records = records
        self._relay = Relay(replicas, self._serve_forwarded, self._drop)
        self._apps: dict[str, ASGIApp] = {}
        self._idle_s = idle_s
        self._sweep_s = sweep_s
        self._here: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rebuilding: dict[str, asyncio.Event] = {}
        self._unbuilt: dict[str, str] = {}
        """Sessions that we took over and could not rebuild yet, with the replica that had them."""

    @asynccontextmanager
    async def running(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Serve within this block. When `stop` is set, streams that never end by themselves do, and their clients go elsewhere.

        What is under way then has `DRAIN_S` to end, also where its client has left: it may come again for the answer.
        """
        sweeping = asyncio.create_task(self._sweep_for_ever(), name="session sweep")
        stopping = asyncio.create_task(self._drain_at(stop), name="session stop")
        try:
            async with self.log.running(), self._relay.running(self._sweep):
                yield
                if stop.is_set():
                    await stopping
        finally:
            tasks = [sweeping, stopping, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def serves(self, prefix: str, app: ASGIApp) -> None:
        """Have `app` answer what other replicas forward of the paths with that prefix."""
        self._apps[prefix] = app

    async def admit(self, principal_id: UUID) -> bool:
        """Whether there is room for one more of this principal. Where it has its share, the one that it left longest ago makes way."""
        own = [session for session in self._here.values() if session.record.principal_id == principal_id]
        if len(own) >= MAX_EACH:
            left = [s for s in own if s.record.lasting and not s.requests and not s.standalone.is_read]
            if not left:
                return False
            await self.end(max(left, key=lambda session: session.idle_s()))
        return len(self._here) < MAX_SESSIONS

    def start(self, session: Session) -> None:
        """Let a session live here."""
        # A task of its own context: the request that began the session ends long before it.
        running = contextvars.Context().run(
            asyncio.create_task, session.run(self._server), name=f"session {session.id[:8]}"
        )
        self._tasks.add(running)
        self._here[session.id] = session

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._here.get(session.id) is session:
                del self._here[session.id]
            if session.id not in self._here:
                self.log.leave(session.id)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("session failed", exc_info=error)

        running.add_done_callback(ended)

    async def save(self, session: Session) -> None:
        """Let other replicas know what the session is. Without Redis they learn it later."""
        try:
            if await self._records.save(session.id, session.record):
                session.saved = True
            else:
                self._drop(session.id)
        except Unavailable as error:
            log.warning("session not registered", reason=error.message)

    async def end(self, session: Session) -> None:
        """End the session everywhere."""
        self._drop(session.id)
        with suppress(Unavailable):
            await self._records.forget(session.id)
            await self.log.forget(session.id)

    async def find(self, exchange: Exchange, not_found: Callable[[], Awaitable[None]]) -> Session | None:
        """The session of an exchange, where it lives here, perhaps from now on.

        None when the exchange has been answered: by the replica that has the session, or with `not_found`, which is said alike of a
        session that does not exist and of another principal's. Raises `Unavailable`.
        """
        session_id, principal = exchange.session_id, exchange.principal
        assert session_id is not None, "asked for by its id"
        for _ in range(_ATTEMPTS):
            session = await self._local(session_id)
            if session is not None and session.record.belongs_to(principal):
                session.touch()
                return session
            if session is None and not exchange.is_forwarded:
                found = await self._records.find(session_id)
                if found is not None and found.record.belongs_to(principal):
                    if await self._forwarded(found.owner, exchange):
                        return None
                    await self._succeed(session_id, found, exchange)
                    continue
            await not_found()
            return None
        raise Unavailable("the session is moving between replicas", retry_after_s=1)

    async def _serve_forwarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        for prefix, app in self._apps.items():
            if scope["path"].startswith(prefix):
                await app(scope, receive, send)

    async def _local(self, session_id: str) -> Session | None:
        rebuilt = self._rebuilding.get(session_id)
        if rebuilt is not None:
            await rebuilt.wait()
        return self._here.get(session_id)

    async def _forwarded(self, owner: str, exchange: Exchange) -> bool:
        """Whether the owner has answered, or begun to; False where it is gone."""
        assert exchange.session_id is not None
        if owner == self._replicas.own_id:
            return False
        try:
            status = await self._relay.forward(
                owner, exchange.scope, exchange.body, exchange.receive, exchange.send
            )
        except Lost as lost:
            await answer_broken_off(exchange, started=lost.started, is_stream=lost.is_stream)
            return True
        if status == 404:
            await self._records.forget(exchange.session_id, owner)
        return status is not None

    async def _succeed(self, session_id: str, found: FoundSession, exchange: Exchange) -> None:
        """Make the session ours, since its owner is gone; or forget it, where it ended with its owner or is to end now."""
        ended_here = found.owner == self._replicas.own_id and session_id not in self._unbuilt
        if ended_here or not found.record.lasting or exchange.scope["method"] == "DELETE":
            await self._records.forget(session_id, found.owner)
            self._unbuilt.pop(session_id, None)
            return
        if session_id in self._rebuilding:
            return
        rebuilt = self._rebuilding[session_id] = asyncio.Event()
        before = self._unbuilt.setdefault(session_id, found.owner)
        try:
            took = await self._records.take_over(session_id, found.owner)
            if took:
                await self._rebuild(session_id, found.record, exchange.request)
            self._unbuilt.pop(session_id, None)  # its client may have ended it meanwhile
            if took:
                await self._relay.tell_dropped(before, session_id)
        finally:
            del self._rebuilding[session_id]
            rebuilt.set()

    async def _rebuild(self, session_id: str, record: SessionRecord, request: Request) -> None:
        """Raises `Unavailable` where the session does not come to be in time; then the next request tries anew."""
        last = await self.log.last(session_id) or Position(0, 0)
        now = Positions().next()
        ahead = Positions(after=Position(max(last.ms, now.ms) + _AHEAD_MS, 0))
        session = Session(session_id, record, ahead, None, self.fast, self.save)
        self.start(session)
        try:
            async with asyncio.timeout(_REBUILT_WITHIN_S):
                await _repeat(session, request)
        except BaseException as error:
            self._drop(session_id)
            if not isinstance(error, TimeoutError):
                raise
            raise Unavailable("the session could not be rebuilt in time", retry_after_s=1) from None
        session.log = self.log
        session.saved = True
        log.info("session rebuilt", session=session_id[:8], repeated=len(record.since))

    def _drop(self, session_id: str) -> None:
        """End the session here; elsewhere it may go on."""
        if (session := self._here.pop(session_id, None)) is not None:
            session.end()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_s)
            await self._sweep()

    async def _sweep(self) -> None:
        """End what nobody uses; tell Redis what it does not know; give up what another replica has by now."""
        for session in list(self._here.values()):
            if session.record.lasting and session.idle_s() > self._idle_s:
                await self.end(session)
        if not self._here:
            return
        try:
            unknown, lost = await self._records.prolong(list(self._here))
        except Unavailable as error:
            log.warning("sessions not prolonged", reason=error.message)
            return
        for session_id in lost:
            self._drop(session_id)
        for session in list(self._here.values()):
            if session.id in unknown or not session.saved:
                await self.save(session)

    async def _drain_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await asyncio.gather(*(_drain(session) for session in self._here.values()))


def sessions_over(
    server: Server[dict[str, Any]],
    redis: Redis,
    keyring: Keyring,
    fast: FastCalls | None = None,
    *,
    idle_s: float = IDLE_S,
    sweep_s: float = SWEEP_S,
) -> Sessions:
    """The sessions of this process, with the replicas that share this Redis and these keys."""
    seal = Seal(keyring.keys("replicas"))
    replicas = Replicas(redis, seal)
    records = SessionRecords(redis, seal, replicas.own_id, lifetime_s=IDLE_S + _SPARE_S)
    kept = MessageLog(redis, seal, LogLimits(lifetime_s=IDLE_S + _SPARE_S))
    return Sessions(server, replicas, records, kept, fast, idle_s=idle_s, sweep_s=sweep_s)


async def _drain(session: Session) -> None:
    """Return when nothing is under way in the session; its stream ends at once, unless the answers come on it."""
    if session.record.lasting:
        session.standalone.release()
    await session.finished()
    if not session.record.lasting:
        session.end()


async def _repeat(session: Session, request: Request) -> None:
    """Tell a new session what its predecessor was told."""
    initialize: JsonObject = {"method": "initialize", "params": session.record.began_with}
    for number, told in enumerate((initialize, *session.record.since)):
        message = types.JSONRPCRequest.model_validate(
            {"jsonrpc": "2.0", "id": f"devops-mcp:{number}", **told}, by_name=False
        )
        stream = await session.ask(message, request, answers=False)
        with stream.read() as reader:
            await final_of(reader)
        if number == 0:
            initialized = types.JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")
            await session.take(initialized, request)

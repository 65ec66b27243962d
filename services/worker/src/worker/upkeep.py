"""What must be done now and then, whoever asks: partitions for the months to come, and an end for what has expired.

Any number of workers may do it: each step does nothing where another was there before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import UUID

import structlog

from devops_mcp.auth.keyring import Keyring
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError, Unavailable
from devops_mcp.models.ids import first_id_at
from devops_mcp.operations.agent_events import tell_lost
from devops_mcp.operations.audit_log import chain_waiting
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.context_removal import remove_some_expired
from devops_mcp.operations.reembedding import Reembedding
from devops_mcp.operations.secret_rotation import SecretRotation
from devops_mcp.operations.tasks import enqueue_abandoned
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction
from worker.stopping import unless_stopped

log = structlog.get_logger()

DEAD_LETTERS_KEPT = timedelta(days=14)
DELIVERIES_KEPT = timedelta(days=14)
REMEMBERED = timedelta(days=45)
"""How long processed messages are known: longer than one may lie in its queue, in the dead-letter queue, among the dead letters, and in its
queue again."""
ABANDONED_AFTER = timedelta(minutes=1)
"""Longer than a message lies invisible in its queue, so that the queue is first to bring it back."""
REPLAYS_KEPT = timedelta(days=90)
CURSORS_KEPT = timedelta(days=90)
"""How long it is known where a poller had got to that looks no more."""
SESSIONS_KEPT = timedelta(days=1)
"""How long a session that ended is known: a refresh token of it that is used again is still noticed."""
CODES_KEPT = timedelta(days=1)
"""How long a code of the authorization server is known after its time: a second use of it is still noticed."""
UNUSED_CLIENTS_KEPT = timedelta(days=7)
"""How long a program is known that registered and that nobody let do anything."""
VECTORS_KEPT = timedelta(days=30)
"""How long a text that was paid for costs nothing again."""
KEYS_KEPT = timedelta(days=90)
"""How long a delivery that comes again is known."""
CALLS_KEPT = timedelta(hours=24)
"""How long a call that is repeated under its key gets the answer of the first."""
RULE_RUNS_KEPT = timedelta(days=30)
USAGE_KEPT = timedelta(days=1_095)
CHAINED_EVERY = timedelta(minutes=1)
REEMBEDDING_TURN = timedelta(seconds=5)
LOST_AGENTS_TURN = timedelta(seconds=5)
TURNS_OF_ALL = 6
"""Every so many turns all tenants are looked at, in between those that have something under way."""
_AGAIN_AFTER_FAILURE = timedelta(seconds=10)
_AGAIN_AFTER_FAULT = timedelta(minutes=1)
_CHUNK = 5_000
_LARGE_CHUNK = 250
"""Of rows whose contents may be megabytes."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long history is kept. It goes by the month: a month once all of it is older."""

    events: timedelta = timedelta(days=365)
    audit: timedelta = timedelta(days=1_095)


class Upkeep:
    """The recurring jobs of one worker."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        models: EmbeddingModels | None = None,
        blobs: BlobStore | None = None,
        *,
        retention: Retention | None = None,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._retention = retention or Retention()
        self._rotation = SecretRotation(database, keyring)
        self._blobs = blobs or BlobStore(database)
        self._now = now
        self._turns = 0
        self._reembedded: set[UUID] = set()
        self._reembedding = Reembedding(database, models or EmbeddingModels(), now=now)

    async def run(self, stop: asyncio.Event) -> None:
        """Do each job now and then again and again, until `stop`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_repeat(self.create_partitions, timedelta(days=1), stop))
            tasks.create_task(_repeat(self.remove_expired, timedelta(hours=1), stop))
            tasks.create_task(_repeat(self.drop_history, timedelta(hours=6), stop))
            tasks.create_task(_repeat(self.sweep_blobs, timedelta(hours=1), stop))
            tasks.create_task(_repeat(self.reseal_secrets, timedelta(hours=1), stop))
            tasks.create_task(_repeat(self.revive_tasks, ABANDONED_AFTER, stop))
            tasks.create_task(_repeat(self.chain_records, CHAINED_EVERY, stop))
            tasks.create_task(_repeat(self.reembed, REEMBEDDING_TURN, stop))
            tasks.create_task(_repeat(self.tell_lost_agents, LOST_AGENTS_TURN, stop))

    async def create_partitions(self) -> None:
        """Create the partitions of the coming months."""
        if made := await self._database.ensure_partitions():
            log.info("partitions created", count=made)

    async def drop_history(self) -> None:
        """Drop the months of events and of audit records that are older than they are kept, and what tenants want kept less long."""
        events, audit = (
            _month_of(self._now() - self._retention.events),
            _month_of(self._now() - self._retention.audit),
        )

        async def begin_later(tenant_id: UUID) -> None:
            await self._forget_events(tenant_id, events)
            async with self._database.transaction(tenant_id) as tx:
                await tx.audit.begin_after(audit)

        await self._for_each_tenant(begin_later)
        dropped = await self._database.drop_months("events", events)
        dropped += await self._database.drop_months("audit_log", audit)
        if dropped:
            log.info("months dropped", partitions=dropped)

    async def _forget_events(self, tenant_id: UUID, of_all: datetime) -> None:
        """Remove what was made searchable of events that are about to go, and those events that go for this tenant alone."""
        async with self._database.transaction(tenant_id) as tx:
            days = (await tx.tenants.retention()).event_days
        own = None if days is None else self._now() - timedelta(days=days)
        bound = of_all if own is None else max(own, of_all)
        first = first_id_at(bound)
        await self._in_chunks(tenant_id, lambda tx, n: tx.passages.forget_events(first, n))
        if own is not None:
            forgotten = await self._in_chunks(tenant_id, lambda tx, n: tx.events.forget(bound, n))
            if forgotten:
                log.info("events forgotten", count=forgotten, tenant_id=str(tenant_id))

    async def _for_each_tenant(self, job: Callable[[UUID], Awaitable[None]]) -> None:
        """Do the job for all, also where it fails for some; raises the first failure at the end, and `Unavailable` at once."""
        failures: list[PlatformError] = []
        for tenant_id in await self._database.tenant_ids():
            try:
                await job(tenant_id)
            except Unavailable:
                raise
            except PlatformError as error:
                log.warning("upkeep failed of a tenant", tenant_id=str(tenant_id), code=error.code)
                failures.append(error)
        if failures:
            raise failures[0]

    async def _in_chunks(
        self, tenant_id: UUID, remove: Callable[[Transaction, int], Awaitable[int]], chunk: int = _CHUNK
    ) -> int:
        """Remove some, a transaction each, until there are no more; how many."""
        total, removed = 0, chunk
        while removed == chunk:
            async with self._database.transaction(tenant_id) as tx:
                removed = await remove(tx, chunk)
            total += removed
        return total

    async def revive_tasks(self) -> None:
        """Queue tasks again whose worker is gone and whose message did not come back."""

        async def revive(tenant_id: UUID) -> None:
            async with self._database.transaction(tenant_id) as tx:
                if revived := await enqueue_abandoned(tx, ABANDONED_AFTER, _CHUNK):
                    log.warning("tasks revived", count=revived, tenant_id=str(tenant_id))

        await self._for_each_tenant(revive)

    async def chain_records(self) -> None:
        """Chain the audit records that were written without waiting for the end of their chain."""

        async def chain(tenant_id: UUID) -> None:
            if count := await chain_waiting(self._database, tenant_id):
                log.debug("records chained", count=count, tenant_id=str(tenant_id))

        await self._for_each_tenant(chain)

    async def reembed(self) -> None:
        """Ask for vectors that passages lack of the model that is chosen for them."""
        if self._turns % TURNS_OF_ALL == 0:
            self._reembedded = set(await self._database.tenant_ids())
        self._turns += 1
        for tenant_id in sorted(self._reembedded):
            turn = await self._reembedding.turn(tenant_id)
            if turn.asked:
                log.info("vectors asked for", count=turn.asked, tenant_id=str(tenant_id))
            if not turn.goes_on:
                self._reembedded.discard(tenant_id)

    async def tell_lost_agents(self) -> None:
        """Tell of agents whose heartbeats have stopped."""
        if told := await tell_lost(self._database):
            log.info("agents lost", count=told)

    async def sweep_blobs(self) -> None:
        """Remove blobs that nothing refers to: those of deletions whose message was lost, and those a crash left behind."""

        async def sweep(tenant_id: UUID) -> None:
            if count := await self._blobs.sweep(tenant_id, self._now()):
                log.info("blobs removed", count=count, tenant_id=str(tenant_id))

        await self._for_each_tenant(sweep)

    async def reseal_secrets(self) -> None:
        """Seal with the newest master key what older ones sealed."""
        async for tenant_id, count in self._rotation.by_tenant():
            if count:
                log.info("secrets resealed", count=count, tenant_id=str(tenant_id))

    async def remove_expired(self) -> None:
        """Remove, for every tenant, what has expired, and the memory of long processed messages."""
        await self.remove_expired_contexts()
        await self._for_each_tenant(self._remove_expired)

    async def remove_expired_contexts(self) -> None:
        """Remove contexts whose time is over, with what was kept apart for them."""
        await self._for_each_tenant(self._remove_expired_contexts)

    async def _remove_expired_contexts(self, tenant_id: UUID) -> None:
        goes_on = True
        while goes_on:
            async with self._database.transaction(tenant_id) as tx:
                removed, goes_on = await remove_some_expired(tx)
            if removed:
                log.info("contexts removed", count=removed, tenant_id=str(tenant_id))

    async def _remove_expired(self, tenant_id: UUID) -> None:
        removed = {
            name: await self._in_chunks(tenant_id, remove, chunk)
            for name, remove, chunk in _expiring(self._now())
        }
        if any(removed.values()):
            log.info("expired rows removed", tenant_id=str(tenant_id), **removed)


_Removal: TypeAlias = tuple[str, Callable[[Transaction, int], Awaitable[int]], int]
"""What is removed, how, and how much of it at once."""


def _expiring(now: datetime) -> Sequence[_Removal]:
    """Of each table more may expire in an hour than one statement may take the time for."""
    return (
        ("sessions", lambda tx, n: tx.sessions.drop_ended(now - SESSIONS_KEPT, n), _CHUNK),
        ("codes", lambda tx, n: tx.authorization_codes.drop_expired(now - CODES_KEPT, n), _CHUNK),
        ("device_codes", lambda tx, n: tx.device_codes.drop_expired(now - CODES_KEPT, n), _CHUNK),
        ("oauth_clients", lambda tx, n: tx.oauth_clients.drop_unused(now - UNUSED_CLIENTS_KEPT, n), _CHUNK),
        ("event_replays", lambda tx, n: tx.event_replays.drop_older(now - REPLAYS_KEPT, n), _CHUNK),
        ("pollers", lambda tx, n: tx.pollers.drop_older(now - CURSORS_KEPT, n), _CHUNK),
        ("results", lambda tx, n: tx.results.drop_expired(now, n), _LARGE_CHUNK),
        ("tasks", lambda tx, n: tx.tasks.drop_expired(now, n), _LARGE_CHUNK),
        ("dead_letters", lambda tx, n: tx.dead_letters.drop_older(now - DEAD_LETTERS_KEPT, n), _CHUNK),
        ("deserted_deliveries", lambda tx, n: tx.webhook_deliveries.drop_deserted(n), _CHUNK),
        (
            "webhook_deliveries",
            lambda tx, n: tx.webhook_deliveries.drop_older(now - DELIVERIES_KEPT, n),
            _CHUNK,
        ),
        ("rule_runs", lambda tx, n: tx.rule_runs.drop_older(now - RULE_RUNS_KEPT, n), _CHUNK),
        ("embeddings", lambda tx, n: tx.embeddings.forget(now - VECTORS_KEPT, n), _CHUNK),
        ("tool_usage", lambda tx, n: tx.tool_usage.drop_older(now - USAGE_KEPT, n), _CHUNK),
        ("delivery_keys", lambda tx, n: tx.events.forget_keys(now - KEYS_KEPT, n), _CHUNK),
        ("idempotent_calls", lambda tx, n: tx.idempotent_calls.drop_older(now - CALLS_KEPT, n), _CHUNK),
        ("processed_messages", lambda tx, n: tx.processed.forget(now - REMEMBERED, n), _CHUNK),
    )


def _month_of(moment: datetime) -> datetime:
    """The beginning of its month, in UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def _repeat(job: Callable[[], Awaitable[None]], every: timedelta, stop: asyncio.Event) -> None:
    while not stop.is_set():
        pause = every
        try:
            await job()
        except PlatformError as error:
            pause = _AGAIN_AFTER_FAILURE
            log.warning("upkeep failed", code=error.code, reason=error.message)
        except Exception:  # the worker loop: one job's fault must not end what the worker does besides
            pause = _AGAIN_AFTER_FAULT
            log.exception("upkeep failed")
        await unless_stopped(stop, asyncio.sleep(pause.total_seconds()))

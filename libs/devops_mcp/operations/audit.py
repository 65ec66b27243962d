"""The audit trail: written off the path of the call, in batches, and never lost on a clean stop; and with it what was used."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import structlog

from devops_mcp.events.model import Event
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.usage import CallUsed, ToolsUsed
from devops_mcp.repositories.database import Database

BATCH = 1_000
HELD = 10_000
FLUSH_S = 0.2
CLOSING_S = 10.0
WRITTEN_S = 1.0
"""So long an answer waits for its record. While the database is away, the record is held as those of reads are."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: AuditRecord
    event: Event | None
    trace: str | None
    used: CallUsed | None


class AuditTrail:
    """Takes records at once and writes them a moment later. When `HELD` wait, `record` writes first: none is dropped.

    What is to be published is so with its record, in one transaction, and so is what a call has used added up.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._writing = asyncio.Lock()
        self._unsure = False
        self._flush: asyncio.Task[None] | None = None

    async def record(
        self,
        record: AuditRecord,
        event: Event | None = None,
        trace: str | None = None,
        used: CallUsed | None = None,
    ) -> None:
        """Keep `record`, publish `event`, which `trace` led to, and add up what was `used` by the call that it is of.

        Raises `Unavailable` only when the database has been away for so long that no more can be held.
        """
        if len(self._waiting) >= HELD:
            await self.flush()
        self._waiting.append(_Waiting(record, event, trace, used))

    async def written(self) -> None:
        """Wait until what was recorded so far is written, up to `WRITTEN_S`; those who wait at the same time share a transaction."""
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._try_flush(), name="write audit records")
        # Not cut off when the time is over: nobody would know what is written.
        await asyncio.wait({self._flush}, timeout=WRITTEN_S)

    async def flush(self) -> None:
        """Write all that waits. What cannot be written stays, in its order."""
        async with self._writing:
            while self._waiting:
                batch = [self._waiting[i] for i in range(min(BATCH, len(self._waiting)))]
                sure, self._unsure = not self._unsure, True
                await self._store(batch, sure=sure)
                self._unsure = False
                for _ in batch:
                    self._waiting.popleft()

    async def run(self) -> None:
        """Flush every `FLUSH_S` seconds until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except PlatformError as error:
            log.warning("audit records wait", waiting=len(self._waiting), error=error.message)

    async def _store(self, batch: Sequence[_Waiting], *, sure: bool) -> None:
        """Write a batch. Unless it is `sure` that none of it is written yet, what is there is not counted once more."""
        by_tenant: defaultdict[UUID, list[_Waiting]] = defaultdict(list)
        for one in batch:
            by_tenant[one.record.tenant_id].append(one)
        for tenant_id, own in by_tenant.items():
            published = [(one.event, one.trace) for one in own if one.event is not None]
            async with self._database.transaction(tenant_id) as tx:
                known = set() if sure else await tx.audit.known([one.record.id for one in own])
                if used := _added_up([one for one in own if one.record.id not in known]):
                    await tx.tool_usage.add(used)
                await tx.audit.append([one.record for one in own])
                if published:
                    await tx.events.publish(*zip(*published, strict=True))


def _added_up(batch: Sequence[_Waiting]) -> list[ToolsUsed]:
    """What was used, by principal, tool and day."""
    alike: defaultdict[tuple[UUID, str, date], list[tuple[AuditRecord, CallUsed]]] = defaultdict(list)
    for one in batch:
        if one.used is not None:
            record = one.record
            alike[record.actor_id, record.target, record.at.date()].append((record, one.used))
    return [_sum_of(calls) for calls in alike.values()]


def _sum_of(calls: Sequence[tuple[AuditRecord, CallUsed]]) -> ToolsUsed:
    """Calls of one tool by one principal on one day."""
    first, used = calls[0]
    return ToolsUsed(
        principal_id=first.actor_id,
        tool=first.target,
        day=first.at.replace(hour=0, minute=0, second=0, microsecond=0),
        system=used.system,
        calls=len(calls),
        errors=sum(record.outcome == "failed" for record, _ in calls),
        duration_ms=sum(record.duration_ms for record, _ in calls),
        tokens=sum(used.tokens for _, used in calls),
    )


@asynccontextmanager
async def open_audit_trail(database: Database) -> AsyncIterator[AuditTrail]:
    """A trail that writes by itself, and writes the rest at the end."""
    trail = AuditTrail(database)
    writer = asyncio.create_task(trail.run(), name="audit trail")
    try:
        yield trail
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        async with asyncio.timeout(CLOSING_S):
            await trail.flush()

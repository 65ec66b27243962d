"""The audit trail: written off the path of the call, in batches, and never lost on a clean stop; and with it what was used."""

from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from uuid import UUID

import structlog

from devops_mcp.events.model import Event
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import DeadlineExceeded, Internal, PlatformError, Unavailable
from devops_mcp.models.usage import CallUsed, ToolsUsed
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.backlog import Backlog, writing
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.rows import UNWRITABLE

BATCH = 1_000
HELD = 10_000
HELD_OF_ONE = 8_000
"""Of one tenant, so that one whose records cannot be written leaves the others room."""
log = structlog.get_logger()


@dataclass(slots=True)
class Kept:
    """A record that is to be written, with what is to be published with it."""

    record: AuditRecord
    event: Event | None
    trace: str | None
    used: CallUsed | None
    written: bool = False


class AuditTrail(Backlog[UUID, deque[Kept]]):
    """Takes records at once and writes them a moment later. When `HELD` wait, those are written first: none is dropped.

    What is to be published is so with its record, in one transaction, and so is what a call has used added up. A tenant whose records
    cannot be written now does not hold up the others; a record that the database will never take is set aside, which the log tells.
    """

    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__("audit records")
        self._database = database
        self._metrics = metrics
        self._sizes: dict[UUID, int] = {}
        """Of the next batches, where the database did not take one together."""
        self._unsure: dict[UUID, int] = {}
        """How many of a tenant's first records may be written already: whether they were was not heard."""

    async def record(self, record: AuditRecord) -> None:
        """Keep the record of something that was refused. Raises as `make_room` does."""
        await self.make_room(record.tenant_id)
        self.keep(record)

    async def make_room(self, tenant_id: UUID) -> None:
        """To be asked before something is done that is to be recorded.

        Raises `Unavailable` when the database has been away for so long that no more can be held.
        """
        if self._is_full(tenant_id):
            await self._flushed()
            if self._is_full(tenant_id):
                raise Unavailable("too many audit records wait for the database", retry_after_s=2)

    def _is_full(self, tenant_id: UUID) -> bool:
        return self._held >= HELD or len(self._waiting.get(tenant_id, ())) >= HELD_OF_ONE

    def keep(
        self,
        record: AuditRecord,
        event: Event | None = None,
        trace: str | None = None,
        used: CallUsed | None = None,
    ) -> Kept:
        """Keep the record of what was done, publish `event`, which `trace` led to, and add up what was `used` by the call."""
        kept = Kept(record, event, trace, used)
        self._waiting.setdefault(record.tenant_id, deque()).append(kept)
        self._held += 1
        return kept

    async def written(self, kept: Kept) -> bool:
        """Wait until it is written, up to `WRITTEN_S`; whether it is. While the database is away, it is held as those of reads are."""
        await self._flushed()
        return kept.written

    async def _try_write(self, key: UUID) -> PlatformError | None:
        try:
            await self._write(key)
        except (Unavailable, DeadlineExceeded) as error:
            self._waiting[key] = self._waiting.pop(key)  # the others are first next time
            if isinstance(error, Unavailable):
                raise
            return error
        except PlatformError as error:
            return error
        except Exception:  # the writer must not end
            log.exception("audit records not written", of_tenant=str(key))
            return Internal("audit records cannot be written; the log says why")
        return None

    async def _write(self, tenant_id: UUID) -> None:
        """Write what waits of a tenant now. What the database does not take together it gets in ever smaller parts.

        What takes it too long it gets so with the next flush, as the others would have to wait for it.
        """
        queue = self._waiting[tenant_id]
        due = len(queue)
        while due:
            size = self._sizes.get(tenant_id, BATCH)
            batch = list(islice(queue, min(size, due)))
            try:
                await self._store(tenant_id, batch)
            except (DeadlineExceeded, *UNWRITABLE) as error:
                self._sizes[tenant_id] = max(len(batch) // 2, 1)
                if isinstance(error, DeadlineExceeded):
                    raise
                if len(batch) == 1:
                    self._set_aside(batch[0], error)
                    self._forget(tenant_id, 1)
                    due -= 1
            else:
                for kept in batch:
                    kept.written = True
                self._forget(tenant_id, len(batch))
                self._sizes[tenant_id] = min(size * 2, BATCH)
                due -= len(batch)
        self._sizes.pop(tenant_id, None)
        if not queue:
            del self._waiting[tenant_id]

    def _forget(self, tenant_id: UUID, count: int) -> None:
        """The first records, which are written or set aside."""
        for _ in range(count):
            self._waiting[tenant_id].popleft()
        self._held -= count
        self._unsure[tenant_id] -= count
        if self._unsure[tenant_id] <= 0:
            del self._unsure[tenant_id]

    def _set_aside(self, kept: Kept, error: Exception) -> None:
        """Let the log have what the audit log cannot, except for the arguments."""
        record = kept.record
        self._metrics.audit_record_set_aside()
        log.error(
            "audit record cannot be written",
            record_id=str(record.id),
            of_tenant=str(record.tenant_id),
            actor_id=str(record.actor_id),
            action=record.action,
            target=record.target,
            outcome=record.outcome,
            reason=type(error).__name__,
        )

    async def _store(self, tenant_id: UUID, batch: Sequence[Kept]) -> None:
        """Write a batch. Unless it is sure that none of it is written yet, what is there is not counted once more."""
        published = [(kept.event, kept.trace) for kept in batch if kept.event is not None]
        unsure = self._unsure.get(tenant_id, 0)
        self._unsure[tenant_id] = max(unsure, len(batch))
        async with self._database.transaction(tenant_id) as tx:
            known = await tx.audit.known([kept.record.id for kept in batch]) if unsure else set()
            if used := _added_up([kept for kept in batch if kept.record.id not in known]):
                await tx.tool_usage.add(used)
            await tx.audit.append([kept.record for kept in batch])
            if published:
                await tx.events.publish(*zip(*published, strict=True))


def _added_up(batch: Sequence[Kept]) -> list[ToolsUsed]:
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


def open_audit_trail(database: Database, metrics: Metrics) -> AbstractAsyncContextManager[AuditTrail]:
    """A trail that writes by itself, and writes the rest at the end."""
    return writing(AuditTrail(database, metrics))

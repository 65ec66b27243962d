"""Reading the audit log: searched, exported, and held against its own chain."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import UUID

from devops_mcp.models.audit import AuditEntry, AuditFilter, AuditVerification, ChainEnd, CheckedEntries
from devops_mcp.models.errors import NotFound, Unavailable
from devops_mcp.models.pages import NEWEST, Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.repositories.database import Database

READ = "audit:read"
PAYLOAD = "audit:payload"
EXPORTED_AT_ONCE = 500
VERIFIED_AT_ONCE = 5_000
VERIFIED_PER_REQUEST = 100_000
CHAINED_AT_ONCE = 500
CHAINED_WITHIN_S = 3.0
"""So long a reader waits until what was done before is in the log."""


async def chain_waiting(
    database: Database, tenant_id: UUID, *, require_time: Callable[[], None] | None = None
) -> int:
    """Chain the tenant's records that wait for it, some at a time; how many there were. `require_time` goes before each, and may raise."""
    total, chained = 0, CHAINED_AT_ONCE
    while chained == CHAINED_AT_ONCE:
        if require_time is not None:
            require_time()
        async with database.transaction(tenant_id) as tx:
            chained = await tx.audit.chain_waiting(CHAINED_AT_ONCE)
        total += chained
    return total


@dataclass(slots=True)
class _Line:
    """Readers of one tenant: how many have come, how many of them found what they wait for chained, and whose turn it is."""

    come: int = 0
    served: int = 0
    here: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Chaining:
    """Chains for readers what waits, one of a tenant's at a time: all who come meanwhile are served by the next turn."""

    def __init__(
        self,
        database: Database,
        *,
        within_s: float = CHAINED_WITHIN_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._within_s = within_s
        self._monotonic = monotonic
        self._lines: dict[UUID, _Line] = {}

    async def all_before(self, tenant_id: UUID) -> None:
        """Return when everything is chained that waited when this was called.

        Raises `Unavailable` where there is more than can be chained in time; what could be stays so.
        """
        until = self._monotonic() + self._within_s

        def in_time() -> None:
            if self._monotonic() > until:
                raise _too_much()

        line = self._lines.setdefault(tenant_id, _Line())
        line.come += 1
        number = line.come
        line.here += 1
        try:
            async with asyncio.timeout(self._within_s):
                await line.turn.acquire()
            try:
                if line.served < number:
                    comprised = line.come
                    await chain_waiting(self._database, tenant_id, require_time=in_time)
                    line.served = comprised
            finally:
                line.turn.release()
        except TimeoutError:
            raise _too_much() from None
        finally:
            line.here -= 1
            if not line.here:
                self._lines.pop(tenant_id, None)


def _too_much() -> Unavailable:
    return Unavailable(
        "more was recorded of late than the audit log could take in by now; read it again in a moment",
        retry_after_s=1,
    )


class AuditReader:
    """The audit log of the principal's tenant. Who reads it finds all that was done before; nothing waits to be chained then.

    Where that would take too long, reading raises `Unavailable`.
    """

    def __init__(self, database: Database, chaining: Chaining | None = None) -> None:
        self._database = database
        self._chaining = chaining or Chaining(database)

    async def page(
        self, principal: Principal, wanted: AuditFilter, *, order: Order, limit: int
    ) -> Page[AuditEntry]:
        await self._begin(principal)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.audit.page(wanted, order, limit + 1)
        return order.page(found, limit).shown(lambda one: _as_seen(principal, one))

    async def get(self, principal: Principal, record_id: UUID) -> AuditEntry:
        """Raises `NotFound`."""
        await self._begin(principal)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.audit.find(record_id)
        if found is None:
            raise NotFound(f"there is no audit record {record_id}")
        return _as_seen(principal, found)

    async def export(self, principal: Principal, wanted: AuditFilter) -> AsyncIterator[AuditEntry]:
        """All of them, newest first; a few hundred are held at a time. The export is itself recorded, before it begins."""
        await self._begin(principal)
        about = wanted.model_dump(mode="json", exclude_none=True)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.audit.append([deed(principal, "audit.export", "audit_log", about)])
        return self._exported(principal, wanted)

    async def _exported(self, principal: Principal, wanted: AuditFilter) -> AsyncIterator[AuditEntry]:
        order = NEWEST
        while True:
            async with self._database.transaction(principal.tenant_id) as tx:
                found = await tx.audit.page(wanted, order, EXPORTED_AT_ONCE)
            for entry in found:
                yield _as_seen(principal, entry)
            if len(found) < EXPORTED_AT_ONCE:
                return
            order = Order(after_id=found[-1].id)

    async def verify(self, principal: Principal, after: int = 0) -> AuditVerification:
        """Hold the records that follow number `after` against the chain, up to `VERIFIED_PER_REQUEST` of them.

        Records that were dropped for their age cannot be held against it: it begins after them.
        Raises `NotFound` when there is no record of that number.
        """
        await self._begin(principal)
        async with self._database.transaction(principal.tenant_id) as tx:
            end = await tx.audit.chain_end()
            start = await tx.audit.chain_start()
            place = start if after <= start.seq else await tx.audit.at(after)
        if place is None:
            raise NotFound(f"there is no audit record of number {after}")
        records = 0
        while place.seq < end.seq and records < VERIFIED_PER_REQUEST:
            async with self._database.transaction(principal.tenant_id) as tx:
                checked = await tx.audit.check(place, min(VERIFIED_AT_ONCE, end.seq - place.seq))
            if (fault := _fault(checked, place)) is not None:
                broken_at, problem = fault
                return AuditVerification(
                    intact=False,
                    records=records,
                    verified_to=place.seq,
                    end=end,
                    broken_at=broken_at,
                    problem=problem,
                )
            place, records = ChainEnd(seq=checked.seq or 0, hash=checked.hash or ""), records + checked.count
        return _verdict(place, end, records)

    async def _begin(self, principal: Principal) -> None:
        require(principal, READ)
        await self._chaining.all_before(principal.tenant_id)


def _as_seen(principal: Principal, entry: AuditEntry) -> AuditEntry:
    """What was asked of systems is not everybody's who may see that it was asked."""
    return entry if principal.may(PAYLOAD) else entry.model_copy(update={"arguments": None})


def _fault(checked: CheckedEntries, place: ChainEnd) -> tuple[int, str] | None:
    """The first record that is wrong, and how."""
    if not checked.count:
        return place.seq + 1, "missing"
    faults = [(at, how) for at, how in ((checked.changed_at, "changed"), (checked.broken_at, "broken")) if at]
    if not faults:
        return None
    at, how = min(faults)
    return (
        at,
        how if how == "changed" else "it does not follow the record before it: one is missing or was put in",
    )


def _verdict(place: ChainEnd, end: ChainEnd, records: int) -> AuditVerification:
    if place.seq == end.seq and place.hash != end.hash:
        return AuditVerification(
            intact=False,
            records=records,
            verified_to=place.seq,
            end=end,
            broken_at=place.seq,
            problem="it is not the record that the chain ends with",
        )
    more = place.seq < end.seq
    return AuditVerification(intact=True, records=records, verified_to=place.seq, end=end, more=more)

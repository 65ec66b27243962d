"""Reading the audit log: searched, exported, and held against its own chain."""

from collections.abc import AsyncIterator
from uuid import UUID

from devops_mcp.models.audit import AuditEntry, AuditFilter, AuditVerification, ChainEnd, CheckedEntries
from devops_mcp.models.errors import NotFound
from devops_mcp.models.pages import Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.repositories.database import Database

READ = "audit:read"
PAYLOAD = "audit:payload"
EXPORTED_AT_ONCE = 500
VERIFIED_AT_ONCE = 5_000
VERIFIED_PER_REQUEST = 100_000


class AuditReader:
    """The audit log of the principal's tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, principal: Principal, wanted: AuditFilter, *, cursor: UUID | None, limit: int
    ) -> Page[AuditEntry]:
        """Newest first."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.audit.page(wanted, cursor, limit + 1)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(items=tuple(_as_seen(principal, one) for one in found[:limit]), next_cursor=more)

    async def export(self, principal: Principal, wanted: AuditFilter) -> AsyncIterator[AuditEntry]:
        """All of them, newest first; a few hundred are held at a time. The export is itself recorded, before it begins."""
        require(principal, READ)
        about = wanted.model_dump(mode="json", exclude_none=True)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.audit.append([deed(principal, "audit.export", "audit_log", about)])
        return self._exported(principal, wanted)

    async def _exported(self, principal: Principal, wanted: AuditFilter) -> AsyncIterator[AuditEntry]:
        before: UUID | None = None
        while True:
            async with self._database.transaction(principal.tenant_id) as tx:
                found = await tx.audit.page(wanted, before, EXPORTED_AT_ONCE)
            for entry in found:
                yield _as_seen(principal, entry)
            if len(found) < EXPORTED_AT_ONCE:
                return
            before = found[-1].id

    async def verify(self, principal: Principal, after: int = 0) -> AuditVerification:
        """Hold the records that follow number `after` against the chain, up to `VERIFIED_PER_REQUEST` of them.

        Records that were dropped for their age cannot be held against it: it begins after them.
        Raises `NotFound` when there is no record of that number.
        """
        require(principal, READ)
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

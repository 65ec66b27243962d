"""Everything of a tenant removed for good, with proof of what it was: counts by table, in the tenant's audit log and the operator's."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from devops_mcp.events.messages import ErasureRequested
from devops_mcp.events.queues import QueueName
from devops_mcp.models.accounts import Erasure, Tenant
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.ids import OPERATOR_TENANT_ID, new_id
from devops_mcp.models.pages import MAX_PAGE, Page
from devops_mcp.models.principals import Principal
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.blobs import UNCLAIMED_FOR, BlobStore
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, deed_in, deed_of_ours
from devops_mcp.operations.handing_on import permitted_now
from devops_mcp.operations.tenants import READ_ALL, WRITE_ALL
from devops_mcp.repositories.database import Database

ACTION = "tenants.erase"
BLOBS = "blobs"
_AT_ONCE = 1_000
KEPT_OUT_WITHIN = timedelta(minutes=1)
"""Callers are known for some seconds after they are kept out, and what they asked for by then may go on for its deadline: it wrote anew."""


class ErasureService:
    """For who runs the platform: `platform:` permissions work for nobody else."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def request(self, principal: Principal, tenant_id: UUID, confirm: str) -> Erasure:
        """Keep the tenant out from now on, and have the worker remove everything of it once they are out. One under way goes on.

        `confirm` is the tenant's slug, or its id where it has none. Raises `NotFound`, `InvalidInput` for another word, `Conflict` for the
        operator's own tenant.
        """
        principal = await permitted_now(self._database, principal, WRITE_ALL, _target(tenant_id))
        async with self._database.transaction(tenant_id) as tx:
            tenant = await tx.tenants.own()
            _check(tenant, tenant_id, confirm)
            known = next(iter(await tx.erasures.page(1)), None)
            if known is None or known.finished_at is not None:
                message = ErasureRequested(id=new_id(), tenant_id=tenant_id)
                await tx.tenants.put_suspended(self._now())
                await tx.erasures.add(message.id, principal.id)
                begins = self._now() + KEPT_OUT_WITHIN
                await tx.outbox.add(QueueName.TASKS_LOW, message, trace=current_traceparent(), due_at=begins)
                await tx.audit.append([deed_in(tenant_id, principal, ACTION, _target(tenant_id))])
            [erasure] = await tx.erasures.page(1)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.audit.append([deed(principal, ACTION, _target(tenant_id))])
        return erasure

    async def page(self, principal: Principal, tenant_id: UUID) -> Page[Erasure]:
        """The tenant's erasures, the latest first: what each has removed, and whether it has finished. Raises `NotFound`."""
        require(principal, READ_ALL)
        async with self._database.transaction(tenant_id) as tx:
            tenant = await tx.tenants.own()
            found = await tx.erasures.page(MAX_PAGE)
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id}")
        return Page(items=tuple(found))


class Eraser:
    """The worker's side. What a crash leaves undone, the next delivery does; what has been removed is counted once."""

    def __init__(self, database: Database, blobs: BlobStore, *, now: Clock = utc_now) -> None:
        self._database = database
        self._blobs = blobs
        self._now = now

    async def process(self, tenant_id: UUID, messages: Sequence[ErasureRequested]) -> set[UUID]:
        """Erase; the ids of the messages that had not been seen to."""
        return {message.id for message in messages if await self._erase(tenant_id, message.id)}

    async def _erase(self, tenant_id: UUID, erasure_id: UUID) -> bool:
        while (more := await self._rows(tenant_id, erasure_id)) is not None:
            if not more:
                await self._bytes(tenant_id, erasure_id)
                await self._finish(tenant_id, erasure_id)
                return True
        return False

    async def _rows(self, tenant_id: UUID, erasure_id: UUID) -> bool | None:
        """Remove some rows; whether there were any, or None where the erasure is over or unknown."""
        async with self._database.transaction(tenant_id) as tx:
            erasure = await tx.erasures.lock(erasure_id)
            if erasure is None or erasure.finished_at is not None:
                return None
            erased = await tx.erasures.erase_some(_AT_ONCE)
            if erased is not None:
                name, count = erased
                removed = {**erasure.removed, name: erasure.removed.get(name, 0) + count}
                await tx.erasures.count(erasure_id, removed, finished=False)
        return erased is not None

    async def _bytes(self, tenant_id: UUID, erasure_id: UUID) -> None:
        """Remove what was kept apart; nothing refers to it any more."""
        count = await self._blobs.sweep(tenant_id, self._now() + 2 * UNCLAIMED_FOR + timedelta(hours=1))
        async with self._database.transaction(tenant_id) as tx:
            erasure = await tx.erasures.lock(erasure_id)
            if erasure is not None and count:
                removed = {**erasure.removed, BLOBS: erasure.removed.get(BLOBS, 0) + count}
                await tx.erasures.count(erasure_id, removed, finished=False)

    async def _finish(self, tenant_id: UUID, erasure_id: UUID) -> None:
        async with self._database.transaction(tenant_id) as tx:
            erasure = await tx.erasures.lock(erasure_id)
            if erasure is None or erasure.finished_at is not None:
                return
            await tx.erasures.count(erasure_id, dict(erasure.removed), finished=True)
            await tx.audit.append([_proof(tenant_id, erasure)])
        async with self._database.transaction(OPERATOR_TENANT_ID) as tx:
            await tx.audit.append([_proof(OPERATOR_TENANT_ID, erasure)])


def _check(tenant: Tenant | None, tenant_id: UUID, confirm: str) -> None:
    if tenant is None:
        raise NotFound(f"there is no tenant {tenant_id}")
    if tenant.id == OPERATOR_TENANT_ID:
        raise Conflict("the operator's own tenant is not erased: it is what erases")
    if confirm != (tenant.slug or str(tenant.id)):
        problem = "is not the tenant's slug"
        raise InvalidInput(f"confirm {problem}", (Violation("confirm", problem),))


def _proof(log_of: UUID, erasure: Erasure) -> AuditRecord:
    # As texts: a table's name may sound like a secret, whose value would be hidden.
    removed: JsonObject = {
        "erasure": str(erasure.id),
        "rows": sum(erasure.removed.values()),
        "removed": [f"{name} {count}" for name, count in sorted(erasure.removed.items())],
    }
    return deed_of_ours(log_of, f"{ACTION}.done", _target(erasure.tenant_id), removed)


def _target(tenant_id: UUID) -> str:
    return f"tenant:{tenant_id}"

"""Quotas as they are said and read: those of principals by who manages the tenant, the tenant's own by who runs the platform."""

from uuid import UUID

from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import NotFound
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.quotas import TENANT, QuotaDraft, QuotaName, Quotas, QuotasInForce, QuotaStanding
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, deed_in, permit
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction
from devops_mcp.resilience.afterwards import afterwards

OWN = "usage:own"
READ = "quotas:read"
WRITE = "quotas:write"
READ_ALL = "platform:read"
WRITE_ALL = "platform:write"


class QuotaService:
    """What is said counts in every process within seconds, for what was used before too."""

    def __init__(self, database: Database, keeper: QuotaKeeper, *, now: Clock = utc_now) -> None:
        self._database = database
        self._keeper = keeper
        self._now = now

    async def in_force(self, principal: Principal) -> QuotasInForce:
        """What holds for the principal itself."""
        require(principal, OWN)
        async with self._database.transaction(principal.tenant_id) as tx:
            return QuotasInForce(tenant=await self._of(tx, TENANT), own=await self._of(tx, principal.id))

    async def page(self, principal: Principal, *, order: Order, limit: int) -> Page[Quotas]:
        """Of the tenant, and of those of its principals that have any."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.quotas.page(order, limit + 1)
            items = [await self._shown(tx, row.principal_id, row) for row in found[:limit]]
        more = str(found[limit - 1].principal_id) if len(found) > limit else None
        return Page(items=tuple(items), next_cursor=more)

    async def get(self, principal: Principal, principal_id: UUID) -> Quotas:
        """Raises `NotFound` for who is no principal of the tenant's."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            await self._require_known(tx, principal_id)
            return await self._of(tx, principal_id)

    async def put(self, principal: Principal, principal_id: UUID, draft: QuotaDraft) -> Quotas:
        """Say anew how much a principal may use. Raises as `get` does."""
        await permit(self._database, principal, WRITE, _target(principal_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            await self._require_known(tx, principal_id)
            changed = await self._put(tx, principal_id, draft)
            await tx.audit.append([deed(principal, "quotas.put", _target(principal_id), changed)])
            after = await self._of(tx, principal_id)
        await afterwards(self._keeper.take_up)
        return after

    async def get_of_tenant(self, principal: Principal, tenant_id: UUID) -> Quotas:
        """Of any tenant, as a whole. Raises `NotFound`."""
        require(principal, READ_ALL)
        async with self._database.transaction(tenant_id) as tx:
            await _require_tenant(tx)
            return await self._of(tx, TENANT)

    async def put_of_tenant(self, principal: Principal, tenant_id: UUID, draft: QuotaDraft) -> Quotas:
        """Say anew how much a tenant may use as a whole; its log says who of outside did it. Raises `NotFound`."""
        target = f"tenant:{tenant_id}"
        await permit(self._database, principal, WRITE_ALL, target)
        async with self._database.transaction(tenant_id) as tx:
            await _require_tenant(tx)
            changed = await self._put(tx, TENANT, draft)
            await tx.audit.append([deed_in(tenant_id, principal, "quotas.put", target, changed)])
            after = await self._of(tx, TENANT)
        if tenant_id != principal.tenant_id:
            async with self._database.transaction(principal.tenant_id) as tx:
                await tx.audit.append([deed(principal, "quotas.put", target, changed)])
        await afterwards(self._keeper.take_up)
        return after

    async def _put(self, tx: Transaction, whose: UUID, draft: QuotaDraft) -> JsonObject:
        """What changed."""
        await tx.quotas.lock()
        before = await tx.quotas.find(whose)
        await tx.quotas.put(whose, draft)
        return {"before": _about(before), "after": _about(draft)}

    async def _of(self, tx: Transaction, whose: UUID) -> Quotas:
        return await self._shown(tx, whose, await tx.quotas.find(whose))

    async def _shown(self, tx: Transaction, whose: UUID, draft: QuotaDraft) -> Quotas:
        now, limits = self._now(), draft.limits()
        used = await tx.quotas.used(whose, now) if limits else {}
        return Quotas(
            principal_id=None if whose == TENANT else whose,
            standings=tuple(
                QuotaStanding(quota=name, limit=limit, used=used[name], renews_at=name.renews(now))
                for name, limit in limits.items()
            ),
            **draft.model_dump(include={name.value for name in QuotaName}),
        )

    async def _require_known(self, tx: Transaction, principal_id: UUID) -> None:
        if not await tx.principals.exists(principal_id):
            raise NotFound(f"there is no API key or user {principal_id}")


async def _require_tenant(tx: Transaction) -> None:
    if await tx.tenants.own() is None:
        raise NotFound(f"there is no tenant {tx.tenant_id}")


def _about(draft: QuotaDraft) -> JsonObject:
    return {name.value: limit for name, limit in draft.limits().items()}


def _target(principal_id: UUID) -> str:
    return f"quotas:{principal_id}"

"""Tenants: one's own, and for who runs the platform all of them."""

from uuid import UUID

from pydantic import Field

from devops_mcp.auth.passwords import Passwords
from devops_mcp.models.accounts import (
    Email,
    Password,
    Slug,
    Tenant,
    TenantStatus,
    TenantsWanted,
    User,
    Username,
    UserStatus,
)
from devops_mcp.models.base import Clock, JsonObject, Model, utc_now
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import OPERATOR_TENANT_ID, new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.permissions import BuiltInRole
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, deed_in, permit
from devops_mcp.operations.handing_on import permitted_now
from devops_mcp.repositories.database import Database

READ = "tenant:read"
WRITE = "tenant:write"
READ_ALL = "platform:read"
WRITE_ALL = "platform:write"


class TenantDraft(Model):
    name: str = Field(min_length=1, max_length=200)


class FirstOwner(Model):
    """Who may do everything in the new tenant from the start."""

    username: Username
    email: Email | None = None
    name: str = Field(min_length=1, max_length=200)
    password: Password


class NewTenant(TenantDraft):
    """`slug` stands for the tenant in logins (`acme/alice`) and stays as it is."""

    slug: Slug
    owner: FirstOwner


class TenantService:
    """Across tenants only for principals of the operator's, whom alone `platform:` permissions work for."""

    def __init__(self, database: Database, passwords: Passwords, *, now: Clock = utc_now) -> None:
        self._database = database
        self._passwords = passwords
        self._now = now

    async def own(self, principal: Principal) -> Tenant:
        """The principal's tenant."""
        require(principal, READ)
        return await self._find(principal.tenant_id)

    async def replace_own(self, principal: Principal, draft: TenantDraft) -> Tenant:
        """Say anew what one's tenant is called."""
        await permit(self._database, principal, WRITE, _target(principal.tenant_id))
        return await self._rename(principal, principal.tenant_id, draft)

    async def replace(self, principal: Principal, tenant_id: UUID, draft: TenantDraft) -> Tenant:
        """Say anew what any tenant is called. Raises `NotFound`."""
        await permit(self._database, principal, WRITE_ALL, _target(tenant_id))
        return await self._rename(principal, tenant_id, draft)

    async def page(
        self, principal: Principal, *, limit: int, order: Order, wanted: TenantsWanted
    ) -> Page[Tenant]:
        """Of all tenants."""
        require(principal, READ_ALL)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.tenants.page_of_all(wanted, order, limit + 1)
        return order.page(found, limit)

    async def get(self, principal: Principal, tenant_id: UUID) -> Tenant:
        """Raises `NotFound`."""
        require(principal, READ_ALL)
        return await self._find(tenant_id)

    async def create(self, principal: Principal, draft: NewTenant) -> Tenant:
        """With its first owner. Raises `Conflict` when a tenant has the slug."""
        now = self._now()
        tenant = Tenant(
            id=new_id(), name=draft.name, slug=draft.slug, status=TenantStatus.ACTIVE, created_at=now
        )
        principal = await permitted_now(self._database, principal, WRITE_ALL, _target(tenant.id))
        owner = User(
            id=new_id(),
            status=UserStatus.ACTIVE,
            roles=(BuiltInRole.OWNER,),
            grants=(),
            has_password=True,
            created_at=now,
            updated_at=now,
            **draft.owner.model_dump(exclude={"password"}),
        )
        hashed = await self._passwords.hash(draft.owner.password)
        async with self._database.transaction(tenant.id) as tx:
            await tx.tenants.add(tenant)
            await tx.users.add(owner, hashed)
            about = {"name": tenant.name, "slug": tenant.slug, "owner": owner.username}
            await tx.audit.append(
                [deed_in(tenant.id, principal, "tenants.create", _target(tenant.id), about)]
            )
        await self._note(principal, "tenants.create", tenant)
        return tenant

    async def suspend(self, principal: Principal, tenant_id: UUID) -> Tenant:
        """Its users and keys are out within seconds; what it has stays. Raises `NotFound`, `Conflict` for the operator's own."""
        return await self._put_status(principal, tenant_id, TenantStatus.SUSPENDED)

    async def resume(self, principal: Principal, tenant_id: UUID) -> Tenant:
        """Let a suspended one in again. Raises `NotFound`."""
        return await self._put_status(principal, tenant_id, TenantStatus.ACTIVE)

    async def _put_status(self, principal: Principal, tenant_id: UUID, status: TenantStatus) -> Tenant:
        await permit(self._database, principal, WRITE_ALL, _target(tenant_id))
        before = await self._find(tenant_id)
        if before.id == OPERATOR_TENANT_ID:
            raise Conflict("the operator's own tenant is not suspended: nobody could resume it")
        if before.status is status:
            return before
        suspended = status is TenantStatus.SUSPENDED
        action = "tenants.suspend" if suspended else "tenants.resume"
        async with self._database.transaction(tenant_id) as tx:
            await tx.tenants.put_suspended(self._now() if suspended else None)
            await tx.audit.append([deed_in(tenant_id, principal, action, _target(tenant_id))])
        await self._note(principal, action, before)
        return before.model_copy(update={"status": status})

    async def _rename(self, principal: Principal, tenant_id: UUID, draft: TenantDraft) -> Tenant:
        async with self._database.transaction(tenant_id) as tx:
            before = _existing(await tx.tenants.own(), tenant_id)
            changed: JsonObject = {"before": {"name": before.name}, "after": {"name": draft.name}}
            await tx.tenants.rename(draft.name)
            record = deed_in(tenant_id, principal, "tenants.rename", _target(tenant_id), changed)
            await tx.audit.append([record])
        if tenant_id != principal.tenant_id:
            await self._note(principal, "tenants.rename", before)
        return before.model_copy(update={"name": draft.name})

    async def _find(self, tenant_id: UUID) -> Tenant:
        async with self._database.transaction(tenant_id) as tx:
            return _existing(await tx.tenants.own(), tenant_id)

    async def _note(self, principal: Principal, action: str, tenant: Tenant) -> None:
        """The operator's own log says it too; the tenant's says who of outside did it."""
        about = {"name": tenant.name, "slug": tenant.slug}
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.audit.append([deed(principal, action, _target(tenant.id), about)])


def _existing(tenant: Tenant | None, tenant_id: UUID) -> Tenant:
    if tenant is None:
        raise NotFound(f"there is no tenant {tenant_id}")
    return tenant


def _target(tenant_id: UUID) -> str:
    return f"tenant:{tenant_id}"

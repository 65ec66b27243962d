"""Tenants: one's own, and for who runs the platform all of them."""

from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.accounts import Erasure, Retention, RetentionWanted, Tenant, TenantsWanted
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.operations.tenants import NewTenant, TenantDraft
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams
from rest_api.listing import Listing

TAG = "tenants"


class OneTenant(Model):
    tenant_id: UUID


class ErasureOrder(Body):
    """`confirm` is the tenant's slug, or its id where it has none."""

    confirm: str = Field(min_length=1, max_length=100)


TenantSort: TypeAlias = Literal["created_at", "-created_at", "name", "-name"]


class TenantPage(TenantsWanted, Listing[TenantSort]):
    """A page of tenants."""

    sort: TenantSort = "created_at"


async def get_own_tenant(call: Call[NoParams, NoBody]) -> Tenant:
    """Get the caller's tenant."""
    return await call.platform.accounts.tenants.own(call.principal)


async def rename_own_tenant(call: Call[NoParams, TenantDraft]) -> Tenant:
    """Give the caller's tenant another name."""
    return await call.platform.accounts.tenants.replace_own(call.principal, call.body)


async def get_own_retention(call: Call[NoParams, NoBody]) -> Retention:
    """Get how long events and contexts of the caller's tenant are kept."""
    return await call.platform.retention.get(call.principal)


async def put_own_retention(call: Call[NoParams, RetentionWanted]) -> Retention:
    """Say how long events and contexts of the caller's tenant are kept.

    Events that are older go within hours; contexts get their end when they are created, so those that there are keep theirs.
    """
    return await call.platform.retention.put(call.principal, call.body)


async def create_tenant(call: Call[NoParams, NewTenant]) -> Tenant:
    """Create a tenant with its first owner; for who runs the platform."""
    return await call.platform.accounts.tenants.create(call.principal, call.body)


async def list_tenants(call: Call[TenantPage, NoBody]) -> Page[Tenant]:
    """List all tenants, oldest first unless `sort` says otherwise; for who runs the platform."""
    tenants, params = call.platform.accounts.tenants, call.params
    return await tenants.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(TenantsWanted)
    )


async def get_tenant(call: Call[OneTenant, NoBody]) -> Tenant:
    """Get one tenant; for who runs the platform."""
    return await call.platform.accounts.tenants.get(call.principal, call.params.tenant_id)


async def replace_tenant(call: Call[OneTenant, TenantDraft]) -> Tenant:
    """Give a tenant another name; its slug stays. For who runs the platform."""
    return await call.platform.accounts.tenants.replace(call.principal, call.params.tenant_id, call.body)


async def suspend_tenant(call: Call[OneTenant, NoBody]) -> Tenant:
    """Keep a tenant's users and keys out, within seconds; what it has stays. For who runs the platform."""
    return await call.platform.accounts.tenants.suspend(call.principal, call.params.tenant_id)


async def resume_tenant(call: Call[OneTenant, NoBody]) -> Tenant:
    """Let a suspended tenant in again; for who runs the platform."""
    return await call.platform.accounts.tenants.resume(call.principal, call.params.tenant_id)


async def erase_tenant(call: Call[OneTenant, ErasureOrder]) -> Erasure:
    """Keep a tenant out and remove everything of it, for good; for who runs the platform.

    The worker does it. What stays is the tenant's name, its audit log, and the count of what was removed.
    """
    erasures = call.platform.accounts.erasures
    return await erasures.request(call.principal, call.params.tenant_id, call.body.confirm)


async def list_tenant_erasures(call: Call[OneTenant, NoBody]) -> Page[Erasure]:
    """List a tenant's erasures, the latest first: how far each is, and what it has removed; for who runs the platform."""
    return await call.platform.accounts.erasures.page(call.principal, call.params.tenant_id)


_ALL = "/api/v1/tenants"
_OWN = f"{_ALL}/current"
_ONE = f"{_ALL}/{{tenant_id}}"
TENANTS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _OWN, TAG, get_own_tenant, Tenant),
    Endpoint(
        "PUT",
        _OWN,
        TAG,
        rename_own_tenant,
        Tenant,
        body=TenantDraft,
        lock=lambda tx, _: tx.tenants.own(),
        needs="tenant:write",
    ),
    Endpoint("GET", f"{_OWN}/retention", TAG, get_own_retention, Retention),
    Endpoint(
        "PUT",
        f"{_OWN}/retention",
        TAG,
        put_own_retention,
        Retention,
        body=RetentionWanted,
        lock=lambda tx, _: tx.tenants.own(),
        needs="tenant:write",
    ),
    Endpoint(
        "POST", _ALL, TAG, create_tenant, Tenant, body=NewTenant, status=201, errors=(409,), leased=True
    ),
    Endpoint("GET", _ALL, TAG, list_tenants, Page[Tenant], params=TenantPage),
    Endpoint("GET", _ONE, TAG, get_tenant, Tenant, params=OneTenant, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_tenant,
        Tenant,
        params=OneTenant,
        body=TenantDraft,
        errors=(404,),
        lock=lambda tx, _: tx.tenants.own(),
        needs="platform:write",
        tenant=lambda params: params.tenant_id,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/suspend",
        TAG,
        suspend_tenant,
        Tenant,
        params=OneTenant,
        errors=(404, 409),
        leased=True,
    ),
    Endpoint(
        "POST",
        f"{_ONE}/erase",
        TAG,
        erase_tenant,
        Erasure,
        params=OneTenant,
        body=ErasureOrder,
        status=202,
        errors=(404, 409),
        leased=True,
    ),
    Endpoint(
        "GET",
        f"{_ONE}/erasures",
        TAG,
        list_tenant_erasures,
        Page[Erasure],
        params=OneTenant,
        errors=(404,),
    ),
    Endpoint(
        "POST", f"{_ONE}/resume", TAG, resume_tenant, Tenant, params=OneTenant, errors=(404, 409), leased=True
    ),
)

"""How much may be used, by day and month."""

from typing import Literal, TypeAlias
from uuid import UUID

from devops_mcp.models.base import Model
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.quotas import QuotaDraft, Quotas, QuotasInForce
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams
from rest_api.listing import Listing

TAG = "quotas"


class OnePrincipal(Model):
    principal_id: UUID


class OneTenant(Model):
    tenant_id: UUID


QuotaSort: TypeAlias = Literal["principal_id", "-principal_id"]


class QuotaPage(Listing[QuotaSort]):
    """A page of quotas, by the ids of whose they are; the tenant's come before. `cursor` is `next_cursor` of the page before."""

    sort: QuotaSort = "principal_id"


async def list_quotas(call: Call[QuotaPage, NoBody]) -> Page[Quotas]:
    """List the quotas of the caller's tenant, and of those of its API keys and users that have any, with what is used."""
    params = call.params
    # Ids are made in the order of time, so that by id is by age.
    order = Order(
        descending=params.sort.startswith("-"), after_id=UUID(params.cursor) if params.cursor else None
    )
    return await call.platform.quotas.page(call.principal, order=order, limit=params.limit)


async def get_quotas_in_force(call: Call[NoParams, NoBody]) -> QuotasInForce:
    """Get what holds for the caller: the quotas of its tenant and its own, what is used of them, and when they renew."""
    return await call.platform.quotas.in_force(call.principal)


async def get_quotas(call: Call[OnePrincipal, NoBody]) -> Quotas:
    """Get the quotas of an API key or a user; without any, it may use what its tenant may."""
    return await call.platform.quotas.get(call.principal, call.params.principal_id)


async def replace_quotas(call: Call[OnePrincipal, QuotaDraft]) -> Quotas:
    """Say anew how much an API key or a user may use.

    It counts within seconds, on every transport, what was used before in the same day and month included. Who has used it up is answered
    429 with the code `quota_exceeded`, which quota it is and when it renews.
    """
    return await call.platform.quotas.put(call.principal, call.params.principal_id, call.body)


async def get_tenant_quotas(call: Call[OneTenant, NoBody]) -> Quotas:
    """Get the quotas of a tenant as a whole; for who runs the platform."""
    return await call.platform.quotas.get_of_tenant(call.principal, call.params.tenant_id)


async def replace_tenant_quotas(call: Call[OneTenant, QuotaDraft]) -> Quotas:
    """Say anew how much a tenant may use as a whole; for who runs the platform. It counts within seconds."""
    return await call.platform.quotas.put_of_tenant(call.principal, call.params.tenant_id, call.body)


_ALL = "/api/v1/quotas"
_ONE = f"{_ALL}/{{principal_id}}"
_OF_TENANT = "/api/v1/tenants/{tenant_id}/quotas"
QUOTAS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _ALL, TAG, list_quotas, Page[Quotas], params=QuotaPage),
    Endpoint("GET", f"{_ALL}/in-force", TAG, get_quotas_in_force, QuotasInForce),
    Endpoint("GET", _ONE, TAG, get_quotas, Quotas, params=OnePrincipal, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_quotas,
        Quotas,
        params=OnePrincipal,
        body=QuotaDraft,
        errors=(404,),
        lock=lambda tx, _: tx.quotas.lock(),
        needs="quotas:write",
    ),
    Endpoint("GET", _OF_TENANT, TAG, get_tenant_quotas, Quotas, params=OneTenant, errors=(404,)),
    Endpoint(
        "PUT",
        _OF_TENANT,
        TAG,
        replace_tenant_quotas,
        Quotas,
        params=OneTenant,
        body=QuotaDraft,
        errors=(404,),
        lock=lambda tx, _: tx.quotas.lock(),
        needs="platform:write",
        tenant=lambda params: params.tenant_id,
    ),
)

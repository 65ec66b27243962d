"""The identities of outside providers that a user signs in by."""

from uuid import UUID

from devops_mcp.models.accounts import IdentityName, LinkedIdentity
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, Nothing
from rest_api.routes.users import OneUser

TAG = "users"


class OneIdentity(Model):
    user_id: UUID
    identity_id: UUID


async def list_identities(call: Call[OneUser, NoBody]) -> Page[LinkedIdentity]:
    """List the identities of outside providers that a user signs in by."""
    links = call.platform.accounts.identity_links
    return Page(items=await links.all(call.principal, call.params.user_id))


async def get_identity(call: Call[OneIdentity, NoBody]) -> LinkedIdentity:
    """Get one identity of a user."""
    params, links = call.params, call.platform.accounts.identity_links
    return await links.get(call.principal, params.user_id, params.identity_id)


async def add_identity(call: Call[OneUser, IdentityName]) -> LinkedIdentity:
    """Let an identity of an outside provider sign in as this user; the caller must hold all that the user may."""
    return await call.platform.accounts.identity_links.add(call.principal, call.params.user_id, call.body)


async def remove_identity(call: Call[OneIdentity, NoBody]) -> Nothing:
    """Let an identity sign in as this user no more; its tokens stop within seconds, and those of programs that were let act by it."""
    params, links = call.params, call.platform.accounts.identity_links
    await links.remove(call.principal, params.user_id, params.identity_id)
    return Nothing()


_ALL = "/api/v1/users/{user_id}/identities"
_ONE = f"{_ALL}/{{identity_id}}"
IDENTITIES: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", _ALL, TAG, list_identities, Page[LinkedIdentity], params=OneUser, errors=(404,)),
    Endpoint(
        "POST",
        _ALL,
        TAG,
        add_identity,
        LinkedIdentity,
        params=OneUser,
        body=IdentityName,
        status=201,
        errors=(404, 409),
    ),
    Endpoint("GET", _ONE, TAG, get_identity, LinkedIdentity, params=OneIdentity, errors=(404,)),
    Endpoint("DELETE", _ONE, TAG, remove_identity, Nothing, params=OneIdentity, status=204, errors=(404,)),
)

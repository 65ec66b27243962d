"""Roles: the built-in ones and the tenant's own; and the permissions that they are made of."""

from devops_mcp.models.accounts import Role, RoleName, RolesWanted
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.models.permissions import PERMISSIONS, Permission
from devops_mcp.operations.contexts import require
from devops_mcp.operations.roles import READ, NewRole, RoleDraft
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import ByName, page_of

TAG = "roles"


class OneRole(Model):
    role: RoleName


class RolePage(RolesWanted, ByName):
    """A page of roles. `cursor` is `next_cursor` of the page before."""


async def create_role(call: Call[NoParams, NewRole]) -> Role:
    """Create a role of grants that the caller holds as well.

    A grant is a permission in which `*` stands for anything: `contexts:read`, `tools:read:*`, `tools:call:github_*` (whatever the effect),
    `tools:low:*` (of low risk), `tools:write:*@github-staging` (on that integration only).
    """
    return await call.platform.accounts.roles.create(call.principal, call.body)


async def list_roles(call: Call[RolePage, NoBody]) -> Page[Role]:
    """List the roles by name, the built-in ones among them."""
    roles, params = call.platform.accounts.roles, call.params
    return page_of(await roles.all(call.principal, params.part(RolesWanted)), params)


async def get_role(call: Call[OneRole, NoBody]) -> Role:
    """Get one role."""
    return await call.platform.accounts.roles.get(call.principal, call.params.role)


async def replace_role(call: Call[OneRole, RoleDraft]) -> Role:
    """Say anew what a role allows; that counts for everybody who has it within seconds."""
    return await call.platform.accounts.roles.replace(call.principal, call.params.role, call.body)


async def delete_role(call: Call[OneRole, NoBody]) -> Nothing:
    """Delete a role that nobody has."""
    await call.platform.accounts.roles.delete(call.principal, call.params.role)
    return Nothing()


async def list_permissions(call: Call[NoParams, NoBody]) -> Page[Permission]:
    """List every permission that the platform knows, with the built-in roles that hold it."""
    require(call.principal, READ)
    return Page(items=PERMISSIONS)


_ALL = "/api/v1/roles"
_ONE = f"{_ALL}/{{role}}"
ROLES: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", _ALL, TAG, create_role, Role, body=NewRole, status=201, errors=(409,)),
    Endpoint("GET", _ALL, TAG, list_roles, Page[Role], params=RolePage),
    Endpoint("GET", _ONE, TAG, get_role, Role, params=OneRole, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_role,
        Role,
        params=OneRole,
        body=RoleDraft,
        errors=(404, 409),
        lock=lambda tx, params: tx.roles.find(params.role),
        needs="roles:write",
    ),
    Endpoint("DELETE", _ONE, TAG, delete_role, Nothing, params=OneRole, status=204, errors=(404, 409)),
    Endpoint("GET", "/api/v1/permissions", TAG, list_permissions, Page[Permission]),
)

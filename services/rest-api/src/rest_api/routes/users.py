"""The users of a tenant."""

from typing import Literal, TypeAlias
from uuid import UUID

from devops_mcp.models.accounts import Password, User, UsersWanted
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from devops_mcp.operations.users import NewUser, UserDraft
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import Listing

TAG = "users"


class OneUser(Model):
    user_id: UUID


UserSort: TypeAlias = Literal[
    "-created_at", "created_at", "-updated_at", "updated_at", "-username", "username", "-name", "name"
]


class UserPage(UsersWanted, Listing[UserSort]):
    """A page of users. `cursor` is `next_cursor` of the page before."""

    sort: UserSort = "-created_at"


class OtherPassword(Body):
    """Null takes the password away: the user then comes in by an identity from outside, or not at all."""

    password: Password | None


async def create_user(call: Call[NoParams, NewUser]) -> User:
    """Create a user with roles and grants that the caller holds as well."""
    return await call.platform.accounts.users.create(call.principal, call.body)


async def list_users(call: Call[UserPage, NoBody]) -> Page[User]:
    """List the tenant's users, newest first unless `sort` says otherwise."""
    users, params = call.platform.accounts.users, call.params
    return await users.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(UsersWanted)
    )


async def get_user(call: Call[OneUser, NoBody]) -> User:
    """Get one user."""
    return await call.platform.accounts.users.get(call.principal, call.params.user_id)


async def replace_user(call: Call[OneUser, UserDraft]) -> User:
    """Say anew who a user is and what it may; suspended, it is out within seconds, with its keys.

    The caller must hold all that the user may, before and after; the last active owner stays.
    """
    return await call.platform.accounts.users.replace(call.principal, call.params.user_id, call.body)


async def delete_user(call: Call[OneUser, NoBody]) -> Nothing:
    """Delete a user with its keys; what it made stays."""
    await call.platform.accounts.users.delete(call.principal, call.params.user_id)
    return Nothing()


async def set_user_password(call: Call[OneUser, OtherPassword]) -> Nothing:
    """Give a user another password, or take it away."""
    await call.platform.accounts.users.put_password(call.principal, call.params.user_id, call.body.password)
    return Nothing()


_ALL = "/api/v1/users"
_ONE = f"{_ALL}/{{user_id}}"
USERS: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", _ALL, TAG, create_user, User, body=NewUser, status=201, errors=(409,)),
    Endpoint("GET", _ALL, TAG, list_users, Page[User], params=UserPage),
    Endpoint("GET", _ONE, TAG, get_user, User, params=OneUser, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_user,
        User,
        params=OneUser,
        body=UserDraft,
        errors=(404, 409),
        lock=lambda tx, params: tx.users.lock(params.user_id),
        needs="users:write",
    ),
    Endpoint("DELETE", _ONE, TAG, delete_user, Nothing, params=OneUser, status=204, errors=(404, 409)),
    Endpoint(
        "PUT",
        f"{_ONE}/password",
        TAG,
        set_user_password,
        Nothing,
        params=OneUser,
        body=OtherPassword,
        status=204,
        errors=(404, 409),
    ),
)

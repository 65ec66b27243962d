"""The users of a tenant: made, changed, suspended and deleted by those who may; the last owner stays."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from devops_mcp.auth.passwords import Passwords
from devops_mcp.models.accounts import (
    Email,
    Grants,
    Password,
    RoleNames,
    User,
    Username,
    UserStatus,
    UsersWanted,
)
from devops_mcp.models.base import Clock, JsonObject, Model, utc_now
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.permissions import BuiltInRole
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.handing_on import permitted_now, require_held, require_known, resolved
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

READ = "users:read"
WRITE = "users:write"


class UserDraft(Model):
    """A user as whoever manages it says it is."""

    username: Username
    email: Email | None = None
    name: str = Field(min_length=1, max_length=200)
    status: UserStatus = UserStatus.ACTIVE
    roles: RoleNames = ()
    grants: Grants = ()


class NewUser(UserDraft):
    """Without a password, the user comes in by an identity from outside, or not at all."""

    password: Password | None = None


class UserService:
    """Who acts on a user must hold all that the user may do, before and after: else an admin could become the owner."""

    def __init__(self, database: Database, passwords: Passwords, *, now: Clock = utc_now) -> None:
        self._database = database
        self._passwords = passwords
        self._now = now

    async def page(
        self, principal: Principal, *, limit: int, order: Order, wanted: UsersWanted
    ) -> Page[User]:
        require(principal, READ)
        found = await self._database.read(
            principal.tenant_id, lambda tx: tx.users.page(wanted, order, limit + 1)
        )
        return order.page(found, limit)

    async def get(self, principal: Principal, user_id: UUID) -> User:
        """Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return _existing(await tx.users.find(user_id), user_id)

    async def create(self, principal: Principal, draft: NewUser) -> User:
        """Raises `Conflict` when the tenant has the username or the address, `Forbidden` for more than one's own rights."""
        user = new_user(draft, self._now())
        principal = await permitted_now(self._database, principal, WRITE, _target(user.id))
        await self._require_held(principal, "users.create", user)
        hashed = None if draft.password is None else await self._passwords.hash(draft.password)
        async with self._database.transaction(principal.tenant_id) as tx:
            await require_known(tx, draft.roles, draft.grants)
            await tx.users.add(user, hashed)
            await tx.audit.append(
                [deed(principal, "users.create", _target(user.id), {"after": _about(user)})]
            )
        return user

    async def replace(self, principal: Principal, user_id: UUID, draft: UserDraft) -> User:
        """Say anew who the user is and what it may. Raises `NotFound`, `Conflict` also where no active owner would be left."""
        principal = await permitted_now(self._database, principal, WRITE, _target(user_id))
        before = await self.get_for_change(principal, user_id, "users.update")
        after = before.model_copy(update={**dict(draft), "updated_at": self._now()})
        await self._require_held(principal, "users.update", after)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await self._unchanged(tx, before)
            await require_known(tx, draft.roles, draft.grants)
            await keep_an_owner(tx, before, after)
            await tx.users.replace(after)
            changed = {"before": _about(before), "after": _about(after)}
            await tx.audit.append([deed(principal, "users.update", _target(user_id), changed)])
        return after

    async def delete(self, principal: Principal, user_id: UUID) -> None:
        """With its keys; what it made stays. Raises as `replace` does."""
        principal = await permitted_now(self._database, principal, WRITE, _target(user_id))
        before = await self.get_for_change(principal, user_id, "users.delete")
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await self._unchanged(tx, before)
            await keep_an_owner(tx, before, None)
            await tx.users.delete(user_id)
            await tx.audit.append(
                [deed(principal, "users.delete", _target(user_id), {"before": _about(before)})]
            )

    async def put_password(self, principal: Principal, user_id: UUID, password: Password | None) -> None:
        """Give the user another password, or take it away, and end its sessions. Raises `NotFound`."""
        principal = await permitted_now(self._database, principal, WRITE, _target(user_id))
        before = await self.get_for_change(principal, user_id, "users.password")
        hashed = None if password is None else await self._passwords.hash(password)
        async with self._database.transaction(principal.tenant_id) as tx:
            await self._unchanged(tx, before)
            await tx.users.put_password(user_id, hashed)
            await tx.sessions.revoke_of_user(user_id, self._now())
            await tx.audit.append([deed(principal, "users.password", _target(user_id))])

    async def get_for_change(self, principal: Principal, user_id: UUID, action: str) -> User:
        """The user, if the principal holds all that it may. Raises `NotFound` or `Forbidden`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            user = _existing(await tx.users.find(user_id), user_id)
        await self._require_held(principal, action, user)
        return user

    async def _require_held(self, principal: Principal, action: str, user: User) -> None:
        async with self._database.transaction(principal.tenant_id) as tx:
            grants = await resolved(tx, user.roles, user.grants)
        await require_held(self._database, principal, grants, action, _target(user.id))

    async def _unchanged(self, tx: Transaction, seen: User) -> User:
        """The user as it is until the transaction ends: what was judged is what is changed. Raises `Conflict` if somebody was quicker."""
        await tx.users.lock(seen.id)
        now = _existing(await tx.users.find(seen.id), seen.id)
        if (now.roles, now.grants, now.status) != (seen.roles, seen.grants, seen.status):
            raise Conflict(f"user {seen.id} was just changed by somebody else; look again", retry_after_s=1)
        return now


def new_user(draft: NewUser, now: datetime) -> User:
    """The user that a draft describes, with an id of its own."""
    return User(
        id=new_id(),
        has_password=draft.password is not None,
        created_at=now,
        updated_at=now,
        **draft.model_dump(exclude={"password"}),
    )


async def keep_an_owner(tx: Transaction, before: User, after: User | None) -> None:
    """Raise `Conflict` where the last active owner would go."""
    if not _is_owner(before) or (after is not None and _is_owner(after)):
        return
    if set(await tx.users.lock_owners()) <= {before.id}:
        raise Conflict("this is the tenant's last active owner; make another one first")


def _is_owner(user: User) -> bool:
    return user.status is UserStatus.ACTIVE and BuiltInRole.OWNER in user.roles


def _about(user: User) -> JsonObject:
    about: JsonObject = user.model_dump(
        mode="json", include={"username", "email", "name", "status", "roles", "grants"}
    )
    return about


def _target(user_id: UUID) -> str:
    return f"user:{user_id}"


def _existing(user: User | None, user_id: UUID) -> User:
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user

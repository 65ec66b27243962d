"""Roles: the built-in ones, and those that a tenant makes."""

from pydantic import Field

from devops_mcp.models.accounts import Grants, Role, RoleName, RolesWanted
from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.permissions import BUILT_IN, require_useful
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.handing_on import permitted_now, require_held
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

READ = "roles:read"
WRITE = "roles:write"


class RoleDraft(Model):
    """What the role is for, and what it allows."""

    description: str = Field(default="", max_length=500)
    grants: Grants = Field(min_length=1)


class NewRole(RoleDraft):
    name: RoleName


class RoleService:
    """Who makes or changes a role must hold all that it allows, before and after."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, principal: Principal, wanted: RolesWanted) -> list[Role]:
        """The built-in ones and the tenant's."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            custom = await tx.roles.all()
        return [role for role in (*map(_built_in, BUILT_IN), *custom) if wanted.holds(role)]

    async def get(self, principal: Principal, name: str) -> Role:
        """Raises `NotFound`."""
        require(principal, READ)
        if name in BUILT_IN:
            return _built_in(name)
        async with self._database.transaction(principal.tenant_id) as tx:
            return await _existing(tx, name)

    async def create(self, principal: Principal, draft: NewRole) -> Role:
        """Raises `Conflict` when there is one of the name, `Forbidden` for more than one's own rights."""
        principal = await permitted_now(self._database, principal, WRITE, _target(draft.name))
        if draft.name in BUILT_IN:
            raise Conflict(f"{draft.name} is a built-in role")
        role = Role(name=draft.name, description=draft.description, grants=draft.grants)
        await self._require_held(principal, "roles.create", role)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.roles.add(role)
            await tx.audit.append(
                [deed(principal, "roles.create", _target(role.name), {"after": _about(role)})]
            )
        return role

    async def replace(self, principal: Principal, name: str, draft: RoleDraft) -> Role:
        """Say anew what it allows; that counts for everybody who has it within seconds. Raises `NotFound` or `Conflict`."""
        principal = await permitted_now(self._database, principal, WRITE, _target(name))
        before = await self._for_change(principal, name, "roles.update")
        after = before.model_copy(update=dict(draft))
        await self._require_held(principal, "roles.update", after)
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await _unchanged(tx, before)
            await tx.roles.replace(after)
            changed = {"before": _about(before), "after": _about(after)}
            await tx.audit.append([deed(principal, "roles.update", _target(name), changed)])
        return after

    async def delete(self, principal: Principal, name: str) -> None:
        """Raises `NotFound`, and `Conflict` while a user or a key has it."""
        principal = await permitted_now(self._database, principal, WRITE, _target(name))
        before = await self._for_change(principal, name, "roles.delete")
        async with self._database.transaction(principal.tenant_id) as tx:
            before = await _unchanged(tx, before)
            if await tx.users.any_with_role(name):
                raise Conflict(f"a user or an API key has the role {name!r}; take it away first")
            await tx.roles.delete(name)
            await tx.audit.append(
                [deed(principal, "roles.delete", _target(name), {"before": _about(before)})]
            )

    async def _for_change(self, principal: Principal, name: str, action: str) -> Role:
        if name in BUILT_IN:
            raise Conflict(f"{name} is a built-in role, which nobody changes")
        async with self._database.transaction(principal.tenant_id) as tx:
            role = await _existing(tx, name)
        await self._require_held(principal, action, role)
        return role

    async def _require_held(self, principal: Principal, action: str, role: Role) -> None:
        require_useful(role.grants)
        await require_held(self._database, principal, role.grants, action, _target(role.name))


async def _unchanged(tx: Transaction, seen: Role) -> Role:
    """The role as it is until the transaction ends; raises `Conflict` if it allows something else by now."""
    now = await _existing(tx, seen.name)
    if now.grants != seen.grants:
        raise Conflict(f"role {seen.name!r} was just changed by somebody else; look again", retry_after_s=1)
    return now


async def _existing(tx: Transaction, name: str) -> Role:
    role = await tx.roles.find(name)
    if role is None:
        raise NotFound(f"there is no role {name!r}")
    return role


def _built_in(name: str) -> Role:
    return Role(name=name, grants=BUILT_IN[name], built_in=True)


def _about(role: Role) -> JsonObject:
    about: JsonObject = role.model_dump(mode="json", include={"description", "grants"})
    return about


def _target(name: str) -> str:
    return f"role:{name}"

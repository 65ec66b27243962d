"""Which identities of outside providers a user signs in by, as those who manage users say."""

from uuid import UUID

from devops_mcp.models.accounts import IdentityName, LinkedIdentity
from devops_mcp.models.base import JsonObject, utc_now
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.handing_on import permitted_now
from devops_mcp.operations.users import READ, WRITE, UserService
from devops_mcp.repositories.database import Database

MAX_OF_A_USER = 20


class IdentityLinkService:
    """To let somebody sign in as a user is to hand over all that the user may, so whoever does it must hold that."""

    def __init__(self, database: Database, users: UserService) -> None:
        self._database = database
        self._users = users

    async def all(self, principal: Principal, user_id: UUID) -> tuple[LinkedIdentity, ...]:
        """Raises `NotFound` for a user that there is not."""
        require(principal, READ)
        await self._users.get(principal, user_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            return tuple(await tx.identities.of_user(user_id))

    async def get(self, principal: Principal, user_id: UUID, identity_id: UUID) -> LinkedIdentity:
        """Raises `NotFound`, also for a user that there is not."""
        for link in await self.all(principal, user_id):
            if link.id == identity_id:
                return link
        raise _absent(user_id, identity_id)

    async def add(self, principal: Principal, user_id: UUID, name: IdentityName) -> LinkedIdentity:
        """Raises `Conflict` when the identity is linked already, `NotFound`, `Forbidden`."""
        principal = await permitted_now(self._database, principal, WRITE, f"user:{user_id}")
        await self._users.get_for_change(principal, user_id, "identities.add")
        linked = LinkedIdentity(id=new_id(), created_at=utc_now(), **name.model_dump())
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.identities.lock(name.issuer, name.subject)
            if await tx.identities.user(name.issuer, name.subject) is not None:
                raise Conflict("the identity is a user's already; remove it there first")
            await tx.identities.lock_those_of(user_id)
            if len(await tx.identities.of_user(user_id)) >= MAX_OF_A_USER:
                raise Conflict(f"a user has at most {MAX_OF_A_USER} identities")
            await tx.identities.add(linked, user_id)
            await tx.audit.append([deed(principal, "identities.add", f"user:{user_id}", _about(name))])
        return linked

    async def remove(self, principal: Principal, user_id: UUID, identity_id: UUID) -> None:
        """Raises `NotFound` when the user has no such identity, `Forbidden`."""
        principal = await permitted_now(self._database, principal, WRITE, f"user:{user_id}")
        await self._users.get_for_change(principal, user_id, "identities.remove")
        async with self._database.transaction(principal.tenant_id) as tx:
            removed = await tx.identities.remove(identity_id, user_id)
            if removed is None:
                raise _absent(user_id, identity_id)
            await tx.audit.append([deed(principal, "identities.remove", f"user:{user_id}", _about(removed))])


def _absent(user_id: UUID, identity_id: UUID) -> NotFound:
    return NotFound(f"user {user_id} has no identity {identity_id}")


def _about(name: IdentityName) -> JsonObject:
    about: JsonObject = name.model_dump(include={"issuer", "subject"})
    return about

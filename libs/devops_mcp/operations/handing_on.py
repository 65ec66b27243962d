"""Nobody gives what they do not have: the one rule for users, roles and keys."""

from collections.abc import Iterable, Sequence

from devops_mcp.models.accounts import Role
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import InvalidInput, Unauthenticated, Violation
from devops_mcp.models.permissions import BUILT_IN, grants_of, require_useful
from devops_mcp.models.principals import Principal
from devops_mcp.operations.deeds import denial, permit
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction


async def require_known(tx: Transaction, roles: Sequence[str], grants: Sequence[str]) -> None:
    """Raise `InvalidInput` for a role that there is not, or a grant that allows nothing. The roles stay until the transaction ends."""
    require_useful(grants)
    unknown = set(roles) - BUILT_IN.keys() - {role.name for role in await _custom(tx, roles)}
    if unknown:
        problem = f"there is no role {min(unknown)!r}"
        raise InvalidInput(f"roles: {problem}", (Violation("roles", problem),))


async def resolved(tx: Transaction, roles: Sequence[str], grants: Sequence[str]) -> tuple[str, ...]:
    """All that the roles and grants together allow; a role that there is not allows nothing."""
    custom = await _custom(tx, roles)
    return grants_of(roles, [grant for role in custom for grant in role.grants], grants)


async def _custom(tx: Transaction, roles: Sequence[str]) -> list[Role]:
    return await tx.roles.among([role for role in roles if role not in BUILT_IN])


async def as_of_now(database: Database, principal: Principal) -> Principal:
    """The principal with the rights it has now: those remembered of a moment ago must not outlast it in what it writes down.

    Raises `Unauthenticated` when it may act no longer.
    """
    async with database.transaction(principal.tenant_id) as tx:
        found = await _found(tx, principal)
    if found is None:
        raise Unauthenticated(f"{principal.name} may act no longer")
    return found.within(principal.limits)


async def _found(tx: Transaction, principal: Principal) -> Principal | None:
    if principal.session_id is None:
        return await tx.principals.find(principal.id, utc_now())
    account = await tx.sessions.account(principal.session_id, utc_now())
    return None if account is None else account.principal()


async def permitted_now(database: Database, principal: Principal, permission: str, target: str) -> Principal:
    """The principal as of now; raises `Forbidden` as `permit` does, and as `as_of_now` does."""
    principal = await as_of_now(database, principal)
    await permit(database, principal, permission, target)
    return principal


async def require_held(
    database: Database, principal: Principal, grants: Iterable[str], action: str, target: str
) -> None:
    """Raise `Forbidden`, and leave a record of it, unless the principal itself may do all that `grants` allow."""
    for grant in grants:
        if not principal.may(grant):
            why = f"lacks {grant!r}, and so can neither give it to others nor act on who has it"
            raise await denial(database, principal, action, target, why)

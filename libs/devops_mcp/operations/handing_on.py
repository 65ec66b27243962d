"""Nobody gives what they do not have: the one rule for users, roles and keys."""

from collections.abc import Iterable, Sequence

from devops_mcp.models.accounts import Role
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.permissions import BUILT_IN, grants_of, require_grants
from devops_mcp.models.principals import Principal
from devops_mcp.operations.deeds import denial
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction


async def require_known(tx: Transaction, roles: Sequence[str], grants: Sequence[str]) -> None:
    """Raise `InvalidInput` for a role that there is not, or a text that is no grant. The roles stay until the transaction ends."""
    require_grants(grants)
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


async def require_held(
    database: Database, principal: Principal, grants: Iterable[str], action: str, target: str
) -> None:
    """Raise `Forbidden`, and leave a record of it, unless the principal itself may do all that `grants` allow."""
    for grant in grants:
        if not principal.may(grant):
            why = f"lacks {grant!r}, and so can neither give it to others nor act on who has it"
            raise await denial(database, principal, action, target, why)

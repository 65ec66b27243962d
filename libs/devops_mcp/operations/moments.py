"""The time that a look into the past is as of."""

from datetime import datetime
from uuid import UUID

from devops_mcp.models.errors import InvalidInput, NotFound, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.event_log import READ
from devops_mcp.repositories.moments import moment_before
from devops_mcp.repositories.transaction import Transaction


async def moment_of(
    tx: Transaction, principal: Principal, as_of: datetime | None, before_event: UUID | None
) -> datetime | None:
    """`as_of`, or the last moment before the event happened; None: now.

    Raises `InvalidInput` where both are given, `NotFound` for an event that there is not, `Forbidden` where the principal may see none.
    """
    if before_event is None:
        return as_of
    if as_of is not None:
        problem = "give as_of or before_event, not both"
        raise InvalidInput(problem, (Violation("before_event", problem),))
    require(principal, READ)
    found = await tx.events.find([before_event])
    if not found:
        raise NotFound(f"there is no event {before_event}")
    return moment_before(found[0].event.occurred_at)

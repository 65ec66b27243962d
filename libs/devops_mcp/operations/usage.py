"""What a tenant and each of its principals used of the tools."""

from datetime import datetime, timedelta
from uuid import UUID

from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PermissionMissing
from devops_mcp.models.principals import Principal
from devops_mcp.models.usage import ToolUsageReport, ToolUsageWanted
from devops_mcp.repositories.database import Database

READ_OWN = "usage:own"
READ = "usage:read"
DAYS = timedelta(days=30)


class UsageService:
    """One's own with `usage:own`, everybody's with `usage:read`. What was just called is counted within a second."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def of_tools(self, principal: Principal, wanted: ToolUsageWanted) -> ToolUsageReport:
        require_readable(principal, wanted.principal_id)
        since, until = span(wanted.since, wanted.until, self._now())
        async with self._database.transaction(principal.tenant_id) as tx:
            return await tx.tool_usage.report(wanted, since, until)


def require_readable(principal: Principal, principal_id: UUID | None) -> None:
    """Raise `PermissionMissing` unless the principal may read the usage of this one, None being everybody."""
    own = principal.may(READ_OWN)
    if principal.may(READ) or (own and principal_id == principal.id):
        return
    instead = f"name principal_id={principal.id} for what is its own" if own else ""
    raise PermissionMissing(principal.name, READ, instead=instead)


def span(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """What is looked at where nothing else is said: the last 30 days."""
    return since or now - DAYS, until or now + timedelta(days=1)

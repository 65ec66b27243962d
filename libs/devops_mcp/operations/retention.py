"""How long a tenant's events and contexts are kept, where it wants another end than the installation's."""

from datetime import timedelta

from devops_mcp.models.accounts import Retention, RetentionWanted
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.tenants import READ, WRITE
from devops_mcp.repositories.database import Database

ACTION = "tenants.retention"


class RetentionService:
    """Of the principal's own tenant. `event_days` and `context_lifetime` are the installation's."""

    def __init__(
        self, database: Database, *, event_days: int = 365, context_lifetime: timedelta | None = None
    ) -> None:
        self._database = database
        self._event_days = event_days
        self._context_days = None if context_lifetime is None else max(context_lifetime.days, 1)

    async def get(self, principal: Principal) -> Retention:
        """What the tenant has said, and what follows from it."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return self._in_effect(await tx.tenants.retention())

    async def put(self, principal: Principal, wanted: RetentionWanted) -> Retention:
        """Keep events and contexts that long from now on. Raises `InvalidInput` for events beyond what the installation keeps."""
        target = f"tenant:{principal.tenant_id}"
        await permit(self._database, principal, WRITE, target)
        if (wanted.event_days or 0) > self._event_days:
            problem = f"this installation keeps events for {self._event_days} days"
            raise InvalidInput(problem, (Violation("body.event_days", problem),))
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.tenants.own()  # which nobody else changes from here on
            before = await tx.tenants.retention()
            await tx.tenants.put_retention(wanted)
            changed = {"before": before.model_dump(), "after": wanted.model_dump()}
            await tx.audit.append([deed(principal, ACTION, target, changed)])
        return self._in_effect(wanted)

    def _in_effect(self, wanted: RetentionWanted) -> Retention:
        return Retention(
            event_days=wanted.event_days,
            context_days=wanted.context_days,
            events_kept_days=min(wanted.event_days or self._event_days, self._event_days),
            contexts_kept_days=wanted.context_days or self._context_days,
        )

"""What the tenant's operators see of polling."""

from datetime import datetime

from devops_mcp.models.base import Clock, Model, utc_now
from devops_mcp.models.pages import Page
from devops_mcp.models.polling import PollerKey, PollerState, PollerStatus
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.integrations import Integration, Integrations, Polling
from devops_mcp.repositories.database import Database

READ = "pollers:read"


class PollerView(Model):
    """A poller that is to run. `lag_s` is the age of our picture of the system; `failures` are those since the last good look."""

    integration: str
    system: str
    poller: str
    about: str
    every_s: float
    status: PollerStatus
    begun_at: datetime | None = None
    ok_at: datetime | None = None
    next_at: datetime | None = None
    lag_s: float | None = None
    failures: int = 0
    error_code: str | None = None
    error: str | None = None
    events: int = 0


class PollerService:
    """The pollers of the principal's tenant."""

    def __init__(self, database: Database, integrations: Integrations, *, now: Clock = utc_now) -> None:
        self._database = database
        self._integrations = integrations
        self._now = now

    async def page(self, principal: Principal) -> Page[PollerView]:
        """Those that are configured, all of them, with how they are doing."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            states = {PollerKey(s.integration, s.poller): s for s in await tx.pollers.states()}
        views = [
            self._view(integration, polling, states.get(PollerKey(integration.name, polling.poller.name)))
            for integration in self._integrations.of(principal.tenant_id)
            for polling in integration.pollings
        ]
        return Page(items=tuple(views))

    def _view(self, integration: Integration, polling: Polling, state: PollerState | None) -> PollerView:
        view = PollerView(
            integration=integration.name,
            system=integration.adapter.name,
            poller=polling.poller.name,
            about=polling.poller.about,
            every_s=polling.every.total_seconds(),
            status=PollerStatus.WAITING,
        )
        if state is None:
            return view
        told = state.model_dump(
            include={"begun_at", "ok_at", "next_at", "failures", "error_code", "error", "events"}
        )
        lag_s = round(state.lag(self._now()).total_seconds(), 1)
        return view.model_copy(update={**told, "status": state.status, "lag_s": lag_s})

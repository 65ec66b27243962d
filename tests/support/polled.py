"""A system that is polled: a list of builds that grows, and a poller that reads on from where it was."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from devops_mcp.adapters.base import Adapter, NoSettings, Outside
from devops_mcp.adapters.polls import Found, Origin, Poll, Polled, Poller
from devops_mcp.events.model import ActivityRecorded
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.integrations import CredentialPolicy, Sealed
from devops_mcp.operations.integrations import Integration, Polling

EVERY = timedelta(seconds=10)


@dataclass
class PolledSystem:
    """`happened` is what there is; `cursors` are those it was asked from; `error` is raised instead of an answer."""

    happened: list[str] = field(default_factory=list)
    cursors: list[int] = field(default_factory=list)
    error: Exception | None = None
    pause: timedelta = timedelta(0)
    page: int = 1_000

    async def fetch(self, client: None, poll: Poll) -> Polled:
        start = int(str(poll.cursor.get("read", 0)))
        self.cursors.append(start)
        if self.error is not None:
            raise self.error
        end = min(start + self.page, len(self.happened))
        found = [
            Found(self.event(poll.origin, name, poll.at), name, f'"{name}"'.encode())
            for name in self.happened[start:end]
        ]
        return Polled(found, {"read": end}, self.pause, more=end < len(self.happened))

    def integration(self, tenant_id: UUID = DEFAULT_TENANT_ID) -> Integration:
        poller = Poller("builds", "Builds.", EVERY, self.fetch)
        adapter = Adapter(
            name="ci", title="CI", settings=NoSettings, connect=_nothing, ping=None, pollers=(poller,)
        )
        return Integration(
            name="ci-prod",
            tenant_id=tenant_id,
            adapter=adapter,
            read_only=False,
            policy=CredentialPolicy.SERVICE,
            options={},
            unseal=Sealed,
            pollings=(Polling(poller, EVERY),),
        )

    def event(self, origin: Origin, name: str, at: datetime) -> ActivityRecorded:
        """What happened, as the system tells it whichever way."""
        return ActivityRecorded(
            id=new_id(),
            tenant_id=origin.tenant_id,
            system="ci",
            source=origin.integration,
            subject="acme/shop",
            title=name,
            occurred_at=at,
            vendor_type="build",
            identity=name,
        )


@asynccontextmanager
async def _nothing(settings: NoSettings, outside: Outside) -> AsyncIterator[None]:
    yield None

"""Keeps what a process knows of the tenants' integrations current, whichever process changed them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from devops_mcp.auth.envelope import Envelope
from devops_mcp.operations.integrations import Integrations
from devops_mcp.operations.lookout import look_now, looking
from devops_mcp.repositories.database import Database

_NAME = "integrations"


class IntegrationWatch:
    """Asks the database which integrations there are, and reads those of tenants where something changed."""

    def __init__(self, database: Database, integrations: Integrations, envelope: Envelope) -> None:
        self._database = database
        self._integrations = integrations
        self._envelope = envelope
        self._looking = asyncio.Lock()
        self._listeners: list[Callable[[UUID], None]] = []

    def on_change(self, listener: Callable[[UUID], None]) -> None:
        """Call `listener` with each tenant whose integrations changed, once this process knows the new ones."""
        self._listeners.append(listener)

    async def refresh(self) -> None:
        """Look now. Raises `Unavailable` or `DeadlineExceeded`, and what was known stays."""
        async with self._looking:
            versions: defaultdict[UUID, dict[UUID, int]] = defaultdict(dict)
            installed = await self._database.installed_integrations()
            for one in installed:
                if one.id is not None and one.version is not None:
                    versions[one.tenant_id][one.id] = one.version
            self._integrations.put_suspended(one.tenant_id for one in installed if one.suspended)
            known = self._integrations.versions()
            for tenant_id in versions.keys() | known.keys():
                if versions.get(tenant_id) != known.get(tenant_id):
                    await self._read(tenant_id)

    async def take_up(self) -> None:
        """Look now, for who has just changed something: it is done, so that a failure to look is no failure of the change."""
        await look_now(_NAME, self.refresh)

    async def _read(self, tenant_id: UUID) -> None:
        async with self._database.transaction(tenant_id) as tx:
            rows = await tx.integrations.all()
        self._integrations.put_stored(tenant_id, rows, self._envelope)
        for listener in self._listeners:
            listener(tenant_id)


@asynccontextmanager
async def watching(
    database: Database, integrations: Integrations, envelope: Envelope
) -> AsyncIterator[IntegrationWatch]:
    """A watch that has looked once, if the database is there, and goes on looking until the block ends."""
    watch = IntegrationWatch(database, integrations, envelope)
    async with looking(_NAME, watch.refresh):
        yield watch

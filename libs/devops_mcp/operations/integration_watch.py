"""Keeps what a process knows of the tenants' integrations current, whichever process changed them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog

from devops_mcp.auth.envelope import Envelope
from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.integrations import Integrations
from devops_mcp.repositories.database import Database

EVERY_S = 1.0
"""A change takes effect in every process within this time, and the time of a query."""
_START_S = 2.0
_END_S = 1.0
"""A look under way is let finish, so that its connection goes back as it came."""
log = structlog.get_logger()


class IntegrationWatch:
    """Asks the database which integrations there are, and reads those of tenants where something changed."""

    def __init__(self, database: Database, integrations: Integrations, envelope: Envelope) -> None:
        self._database = database
        self._integrations = integrations
        self._envelope = envelope
        self._looking = asyncio.Lock()
        self._failing = False
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
        try:
            await self.refresh()
        except PlatformError as error:
            log.warning("integrations not read", code=error.code, reason=error.message)

    async def run(self, stop: asyncio.Event) -> None:
        """Look again and again until `stop`."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)
                return
            try:
                await self.refresh()
            except PlatformError as error:
                if not self._failing:
                    log.warning("integrations not read", code=error.code, reason=error.message)
                self._failing = True
            else:
                self._failing = False

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
    with suppress(PlatformError, TimeoutError):
        async with asyncio.timeout(_START_S):
            await watch.refresh()
    stop = asyncio.Event()
    looking = asyncio.create_task(watch.run(stop), name="integrations")
    try:
        yield watch
    finally:
        stop.set()
        await asyncio.wait({looking}, timeout=_END_S)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking

"""Reading the events that were received."""

from uuid import UUID

from devops_mcp.events.model import Event
from devops_mcp.models.errors import NotFound
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.pages import NEWEST, Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.contexts import require
from devops_mcp.repositories.database import Database

READ = "events:read"
PAYLOAD = "events:payload"
ANY = EventsWanted()


class EventLog:
    """Events of the principal's tenant."""

    def __init__(self, database: Database, blobs: BlobStore | None = None) -> None:
        self._database = database
        self._blobs = blobs or BlobStore(database)

    async def page(
        self,
        principal: Principal,
        wanted: EventsWanted = ANY,
        *,
        order: Order = NEWEST,
        limit: int = 20,
    ) -> Page[Event]:
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.events.page(wanted, order=order, limit=limit + 1)
        return order.page([stored.event for stored in found], limit)

    async def get(self, principal: Principal, event_id: UUID) -> Event:
        """One event; raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.events.find([event_id])
        if not found:
            raise NotFound(f"there is no event {event_id}")
        return found[0].event

    async def payload(self, principal: Principal, event_id: UUID) -> bytes:
        """What its system sent, byte by byte. Raises `NotFound`, also for an event that nobody sent."""
        require(principal, READ)
        require(principal, PAYLOAD)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.events.payload(event_id)
        if found is None:
            raise NotFound(f"there is no event {event_id} that a system sent")
        return found if isinstance(found, bytes) else await self._blobs.read(principal.tenant_id, found)

"""`event.received`: an event was stored and gets its effect."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from devops_mcp.events.messages import EventReceived
from devops_mcp.operations.events import EventProcessor


async def handle(
    processor: EventProcessor, tenant_id: UUID, messages: Sequence[EventReceived], traces: Mapping[UUID, str]
) -> set[UUID]:
    return await processor.process(tenant_id, messages, traces)

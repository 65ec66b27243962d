"""Events as the worker processes them, made to happen without one."""

from uuid import UUID

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import EventReceived
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.repositories.database import open_database
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build


async def happen(worker_url: str, redis_url: str, *numbers: int) -> list[UUID]:
    """Let failed builds with these numbers be received and processed; the ids of their events."""
    async with (
        open_database(worker_url, pool_size=2, application="worker") as worker,
        open_redis(redis_url, command_timeout_s=2) as redis,
    ):
        intake = EventIntake(worker, Metrics())
        events = []
        for number in numbers:
            build = delivery(failed_build(str(number)), id_=str(number))
            received = await intake.receive("ci", SOURCE, ORIGIN, (SECRET,), build)
            events += received.event_ids
        messages = [EventReceived(id=id_, tenant_id=DEFAULT_TENANT_ID, event_id=id_) for id_ in events]
        processor = EventProcessor(worker, Notices(redis, Metrics()), embeds=False)
        await processor.process(DEFAULT_TENANT_ID, messages)
    return events

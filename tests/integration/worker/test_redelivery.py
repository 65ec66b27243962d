"""A worker that dies between its commit and the deletion of the message."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Depth, SqsQueue, open_queues
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.repositories.database import open_database
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build
from worker.handlers import Handlers
from worker.loop import Consumer, Policy
from worker.relay import OutboxRelay

BRIEF = replace(QUEUES[0], visibility_timeout=timedelta(seconds=1))


class _Forgetful:
    """The queue, whose first acknowledgement is lost, as if its sender had died."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self.deletions = 0
        self.deleted = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def delete_batch(self, receipts: Sequence[str]) -> list[str]:
        self.deletions += 1
        if self.deletions == 1:
            return []
        refused = await self._queue.delete_batch(receipts)
        self.deleted.set()
        return refused


async def test_a_message_delivered_again_after_the_commit_is_a_counted_no_op(database, redis_url, queues):
    """D02"""
    prefix, metrics = f"test-{uuid4().hex[:12]}-", Metrics(CollectorRegistry())
    await create_queues(queues.endpoint_url, prefix=prefix, specs=[BRIEF])
    async with (
        open_database(database.worker_url, pool_size=4, application="test") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
        open_queues(
            endpoint_url=queues.endpoint_url, region=queues.region, prefix=prefix, specs=[BRIEF]
        ) as sqs,
        asyncio.timeout(30),
    ):
        given = delivery(failed_build())
        receipt = await EventIntake(opened, metrics).receive("ci", SOURCE, ORIGIN, (SECRET,), given)
        await OutboxRelay(opened, sqs, metrics).publish_some()
        processor = EventProcessor(opened, Notices(redis, metrics), embeds=False)
        forgetful, stop = _Forgetful(sqs[QueueName.EVENTS]), asyncio.Event()
        handle = Handlers(processor, None).handle
        consumer = Consumer(forgetful, BRIEF, handle, opened.ping, metrics, Policy(slots=1))  # type: ignore[arg-type]
        running = asyncio.create_task(consumer.run(stop, drain_timeout_s=5))
        await forgetful.deleted.wait()
        stop.set()
        await running
        async with opened.transaction(ORIGIN.tenant_id) as tx:
            [stored] = await tx.events.find(receipt.event_ids)
        left = await sqs[QueueName.EVENTS].depth()
    counted = {
        outcome: metrics.registry.get_sample_value(
            "devops_mcp_queue_messages_total", {"queue": "events", "outcome": outcome}
        )
        for outcome in ("done", "duplicate")
    }
    assert stored.processed_at is not None
    assert counted == {"done": 1, "duplicate": 1}
    assert left == Depth(ready=0, in_flight=0, delayed=0)
    assert metrics.registry.get_sample_value("devops_mcp_notices_total", {"outcome": "published"}) == 2

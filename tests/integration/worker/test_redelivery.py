"""Messages that are delivered twice, because a worker died or slept at the wrong moment."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import Message
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Depth, SqsQueue, open_queues
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.blobs import BlobStore
from devops_mcp.operations.compaction import Compactor
from devops_mcp.operations.erasure import Eraser
from devops_mcp.operations.event_replays import Replayer
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.operations.file_indexing import FileIndexer
from devops_mcp.operations.result_indexing import ResultIndexer
from devops_mcp.operations.task_runner import TaskRunner
from devops_mcp.operations.webhook_sending import WebhookSender
from devops_mcp.repositories.database import Database, open_database
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build
from worker.handlers import Handlers
from worker.loop import Consumer, Policy
from worker.relay import OutboxRelay

BRIEF = replace(QUEUES[0], visibility_timeout=timedelta(seconds=1))


@dataclass
class Bench:
    database: Database
    queue: SqsQueue
    handlers: Handlers
    event_id: UUID

    @asynccontextmanager
    async def consuming(
        self, metrics: Metrics, *, queue: object = None, handle: Any = None
    ) -> AsyncIterator[None]:
        consumer = Consumer(
            queue or self.queue,  # type: ignore[arg-type]
            BRIEF,
            handle or self.handlers.handle,
            self.database.ping,
            metrics,
            Policy(slots=1),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(consumer.run(stop, drain_timeout_s=5))
        try:
            yield
        finally:
            stop.set()
            await running

    async def effects(self) -> tuple[bool, int]:
        """Whether the event is processed, and of how many messages the database knows."""
        async with self.database.transaction(ORIGIN.tenant_id) as tx:
            [stored] = await tx.events.find([self.event_id])
            forgotten = await tx.processed.forget(stored.received_at + timedelta(days=1), 10)
        return stored.processed_at is not None, forgotten


NO_TASKS = cast("TaskRunner", None)
NOTHING_SENT = cast("WebhookSender", None)
NOTHING_LONG = cast("Compactor", None)


@pytest.fixture
async def bench(database, redis_url, queues) -> AsyncIterator[Bench]:
    """An event whose message waits in a queue with a visibility timeout of a second."""
    prefix = f"test-{uuid4().hex[:12]}-"
    where = {"endpoint_url": queues.endpoint_url, "region": queues.region, "prefix": prefix}
    await create_queues(**where, specs=[BRIEF])
    async with (
        open_database(database.worker_url, pool_size=4, application="test") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
        open_queues(**where, specs=[BRIEF]) as sqs,
    ):
        given = delivery(failed_build())
        receipt = await EventIntake(opened, Metrics()).receive("ci", SOURCE, ORIGIN, (SECRET,), given)
        await OutboxRelay(opened, sqs, Metrics()).publish_some()
        processor = EventProcessor(opened, Notices(redis, Metrics()), embeds=False)
        yield Bench(
            opened,
            sqs[QueueName.EVENTS],
            Handlers(
                processor,
                ResultIndexer(opened, embeds=False),
                FileIndexer(opened, BlobStore(opened), embeds=False),
                None,
                NO_TASKS,
                NOTHING_SENT,
                NOTHING_LONG,
                BlobStore(opened),
                Eraser(opened, BlobStore(opened)),
                Replayer(opened, embeds=False),
            ),
            receipt.event_ids[0],
        )


def counted(metrics: Metrics) -> dict[str, float]:
    samples = [sample for metric in metrics.registry.collect() for sample in metric.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name == "devops_mcp_queue_messages_total"}


class _Forgetful:
    """The queue, which refuses the first acknowledgement."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self._deletions = 0
        self.deleted = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def delete_batch(self, receipts: Sequence[str]) -> list[str]:
        self._deletions += 1
        if self._deletions == 1:
            return list(receipts)
        refused = await self._queue.delete_batch(receipts)
        self.deleted.set()
        return refused


class _Asleep:
    """The queue as a stopped process has it: until it is awake, no lease is extended."""

    def __init__(self, queue: SqsQueue, awake: asyncio.Event) -> None:
        self._queue = queue
        self._awake = awake

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def change_visibility_batch(self, receipts: Sequence[str], visibility_s: int) -> list[str]:
        await self._awake.wait()
        return await self._queue.change_visibility_batch(receipts, visibility_s)


async def test_a_message_delivered_again_after_the_commit_is_a_counted_no_op(bench):
    """D02"""
    forgetful, metrics = _Forgetful(bench.queue), Metrics(CollectorRegistry())
    with capture_logs() as logs:
        async with bench.consuming(metrics, queue=forgetful):
            await forgetful.deleted.wait()
    assert [log["count"] for log in logs if log["event"] == "messages not acknowledged"] == [1]
    assert counted(metrics) == {"done": 1, "duplicate": 1}
    assert await bench.effects() == (True, 1)
    assert await bench.queue.depth() == Depth(ready=0, in_flight=0, delayed=0)


async def test_a_worker_that_slept_through_its_lease_writes_nothing_when_it_wakes(bench):
    """D07"""
    asleep, awake, woken = asyncio.Event(), asyncio.Event(), asyncio.Event()
    sleeper, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    done = asyncio.Event()

    async def sleep_first(
        tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]
    ) -> set[UUID]:
        asleep.set()
        await awake.wait()
        fresh = await bench.handlers.handle(tenant_id, messages, traces)
        woken.set()
        return fresh

    async def note(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
        fresh = await bench.handlers.handle(tenant_id, messages, traces)
        done.set()
        return fresh

    async with bench.consuming(sleeper, queue=_Asleep(bench.queue, awake), handle=sleep_first):
        await asleep.wait()
        async with bench.consuming(other, handle=note):
            await done.wait()
        awake.set()
        await woken.wait()
    assert (counted(other), counted(sleeper)) == ({"done": 1}, {"duplicate": 1})
    assert await bench.effects() == (True, 1)

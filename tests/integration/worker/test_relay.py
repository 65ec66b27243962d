"""The relay between PostgreSQL's outbox and the queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from devops_mcp.events.messages import MESSAGE, EmbeddingRequested, EventReceived
from devops_mcp.events.queues import QueueName
from devops_mcp.events.sqs import Outgoing, Received, SqsQueue, open_queues
from devops_mcp.models.errors import PlatformError, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.repositories.database import Database, open_database
from worker.relay import TAKE, OutboxRelay

TENANT = DEFAULT_TENANT_ID
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Bench:
    database: Database
    queues: dict[QueueName, SqsQueue]

    def relay(self, *, every_s: float = 60.0, queues: object = None) -> OutboxRelay:
        return OutboxRelay(
            self.database, queues or self.queues, Metrics(CollectorRegistry()), every_s=every_s
        )  # type: ignore[arg-type]

    async def put(self, count: int) -> set[str]:
        """Write messages into the outbox, in one transaction; their bodies."""
        messages = [EventReceived(id=new_id(), tenant_id=TENANT, event_id=new_id()) for _ in range(count)]
        async with self.database.transaction(TENANT) as tx:
            for message in messages:
                await tx.outbox.add(QueueName.EVENTS, message, trace=TRACE)
        return {MESSAGE.dump_json(message).decode() for message in messages}

    async def pending(self) -> int:
        async with self.database.relaying() as outbox:
            return await outbox.pending()

    async def receive(self, count: int) -> list[Received]:
        """Take messages off the queue until there are `count`, or no more come."""
        received: list[Received] = []
        while len(received) < count and (batch := await self.queues[QueueName.EVENTS].receive(wait_s=20)):
            received += batch
            await self.queues[QueueName.EVENTS].delete_batch([r.receipt for r in batch])
        return received


@pytest.fixture
async def bench(database, queues) -> AsyncIterator[Bench]:
    async with (
        open_database(database.worker_url, pool_size=4, application="test") as opened,
        open_queues(endpoint_url=queues.endpoint_url, region=queues.region, prefix=queues.prefix) as sqs,
    ):
        yield Bench(opened, dict(sqs))


async def test_rows_are_published_with_their_trace_and_leave_the_outbox(bench):
    bodies = await bench.put(23)
    assert await bench.relay().publish_some() == 23
    received = await bench.receive(23)
    assert {r.body for r in received} == bodies
    assert {r.traceparent for r in received} == {TRACE}
    assert await bench.pending() == 0


async def test_a_commit_wakes_the_relay(bench):
    stop = asyncio.Event()
    running = asyncio.create_task(bench.relay(every_s=3_600).run(stop))
    await bench.put(1)
    first = await bench.receive(1)
    # By now it listens, whether it found the first row at its start or by a notification.
    await bench.put(1)
    second = await bench.receive(1)
    stop.set()
    await running
    assert len(first + second) == 2


async def test_relays_at_once_publish_each_row_once(bench):
    bodies = await bench.put(450)
    relays = [bench.relay() for _ in range(3)]

    async def empty(relay: OutboxRelay) -> int:
        total = 0
        while published := await relay.publish_some():
            total += published
        return total

    shares = await asyncio.gather(*(empty(relay) for relay in relays))
    received = await bench.receive(450)
    assert sum(shares) == 450
    assert sorted(r.body for r in received) == sorted(bodies)


async def test_while_the_queue_is_down_rows_wait_and_then_go(bench):
    """D09"""
    bodies = await bench.put(120)
    async with open_queues(endpoint_url="http://127.0.0.1:1", region="us-east-1", prefix="x-") as nowhere:
        assert await bench.relay(queues=nowhere).publish_some() == 0
    assert await bench.pending() == 120
    assert [await bench.relay().publish_some() for _ in range(2)] == [100, 20]
    assert {r.body for r in await bench.receive(120)} == bodies


async def test_a_queue_that_fails_does_not_hold_up_another(bench):
    async with bench.database.transaction(TENANT) as tx:
        message = EmbeddingRequested(id=new_id(), tenant_id=TENANT, passage_ids=(new_id(),))
        await tx.outbox.add(QueueName.EMBEDDINGS, message)
    await bench.put(5)
    broken = {**bench.queues, QueueName.EMBEDDINGS: _Deaf()}
    assert await bench.relay(queues=broken).publish_some() == 5
    assert await bench.pending() == 1


async def test_however_much_waits_for_a_queue_that_fails_the_others_get_theirs(bench):
    """D09: more rows than are taken at once are due for the one that fails, and older."""
    async with bench.database.transaction(TENANT) as tx:
        for _ in range(TAKE + 20):
            message = EmbeddingRequested(id=new_id(), tenant_id=TENANT, passage_ids=(new_id(),))
            await tx.outbox.add(QueueName.EMBEDDINGS, message)
    bodies = await bench.put(5)
    stop = asyncio.Event()
    running = asyncio.create_task(
        bench.relay(queues={**bench.queues, QueueName.EMBEDDINGS: _Deaf()}).run(stop)
    )
    received = await bench.receive(5)
    stop.set()
    await running
    assert {r.body for r in received} == bodies
    assert await bench.pending() == TAKE + 20


async def test_a_relay_that_dies_after_publishing_publishes_again(bench):
    """D01: at least once; the consumer knows the message by its id."""
    bodies = await bench.put(1)
    dying = {**bench.queues, QueueName.EVENTS: _Dying(bench.queues[QueueName.EVENTS])}
    with pytest.raises(asyncio.CancelledError):
        await bench.relay(queues=dying).publish_some()
    assert await bench.relay().publish_some() == 1
    received = await bench.receive(2)
    assert [r.body for r in received] == [*bodies, *bodies]


class _Deaf:
    async def send_batch(self, messages: Sequence[Outgoing]) -> dict[int, PlatformError]:
        raise Unavailable("queue embeddings cannot be reached")


class _Dying:
    """Publishes, and ends the relay before it can say so."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue

    async def send_batch(self, messages: Sequence[Outgoing]) -> dict[int, PlatformError]:
        await self._queue.send_batch(messages)
        raise asyncio.CancelledError


async def test_a_fault_of_ours_does_not_end_the_relay(bench):
    class Faulty:
        tried = 0

        async def send_batch(self, messages: Sequence[Outgoing]) -> dict[int, PlatformError]:
            Faulty.tried += 1
            if Faulty.tried == 1:
                raise ValueError("a fault of ours")
            return await bench.queues[QueueName.EVENTS].send_batch(messages)

    bodies = await bench.put(3)
    stop = asyncio.Event()
    relay = bench.relay(every_s=0.05, queues={**bench.queues, QueueName.EVENTS: Faulty()})
    running = asyncio.create_task(relay.run(stop))
    received = await bench.receive(3)
    stop.set()
    await running
    assert {one.body for one in received} == bodies

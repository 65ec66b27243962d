"""A message that has its effect after the queue gave it up: its letter goes, whoever of worker and collector comes first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import MESSAGE, EventReceived
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Received, SqsQueue, open_queues
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.results import KeptResult
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.dead_letters import DeadLetterFiler
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.operations.result_indexing import ResultIndexer, announced
from devops_mcp.repositories.database import Database, open_database
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build
from worker.dead_letters import DeadLetterCollector
from worker.relay import OutboxRelay

SPECS = {spec.name: spec for spec in QUEUES}
BRIEF = replace(SPECS[QueueName.EVENTS], visibility_timeout=timedelta(seconds=1), max_receives=1)
TENANT = DEFAULT_TENANT_ID


@dataclass
class Bench:
    database: Database
    queue: SqsQueue
    processor: EventProcessor
    filer: DeadLetterFiler
    message: EventReceived
    superuser_url: str

    async def die(self) -> None:
        """The message comes out of the dead-letter queue, where the queue itself has moved it."""
        await self.filer.file(SPECS[QueueName.EVENTS], [as_received(self.message)])

    async def process(self) -> set[UUID]:
        return await self.processor.process(TENANT, [self.message])

    def letters(self) -> int:
        return self.count("dead_letters")

    def count(self, of: str) -> int:
        with psycopg.connect(self.superuser_url) as connection:
            row = connection.execute(f"SELECT count(*) FROM {of}").fetchone()  # type: ignore[arg-type]
        return row[0] if row else 0

    async def until_somebody_waits(self) -> None:
        waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(20):
            while not self.count(waiting):
                await asyncio.sleep(0.01)

    async def done(self) -> bool:
        async with self.database.transaction(TENANT) as tx:
            [stored] = await tx.events.find([self.message.event_id])
        return stored.processed_at is not None


def as_received(message: EventReceived) -> Received:
    body = MESSAGE.dump_json(message).decode()
    return Received(str(new_id()), "", body, {}, 1, datetime.now(UTC))


@pytest.fixture
async def bench(database, redis_url, queues) -> AsyncIterator[Bench]:
    prefix = f"test-{uuid4().hex[:12]}-"
    where = {"endpoint_url": queues.endpoint_url, "region": queues.region, "prefix": prefix}
    await create_queues(**where, specs=[BRIEF])
    async with (
        open_database(database.worker_url, pool_size=6, application="test") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
        open_queues(**where, specs=[BRIEF]) as sqs,
    ):
        given = delivery(failed_build())
        receipt = await EventIntake(opened, Metrics()).receive("ci", SOURCE, ORIGIN, (SECRET,), given)
        async with opened.relaying() as relay:
            [row] = await relay.take(1)
        message = MESSAGE.validate_json(row.message)
        assert isinstance(message, EventReceived)
        assert message.event_id == receipt.event_ids[0]
        await OutboxRelay(opened, sqs, Metrics()).publish_some()
        processor = EventProcessor(opened, Notices(redis, Metrics()), embeds=False)
        filer = DeadLetterFiler(opened)
        yield Bench(opened, sqs[QueueName.EVENTS], processor, filer, message, database.superuser_url)


@asynccontextmanager
async def collecting(bench: Bench) -> AsyncIterator[None]:
    stop = asyncio.Event()
    running = asyncio.create_task(DeadLetterCollector(bench.queue, BRIEF, bench.filer).run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def test_an_event_that_a_slow_worker_finishes_after_its_death_has_no_letter(bench):
    """I3"""
    [held] = await bench.queue.receive(wait_s=20)
    async with asyncio.timeout(60), collecting(bench):
        while not bench.letters():
            assert await bench.queue.receive(wait_s=0) == [], (
                "the queue gives it up in place of delivering it"
            )
            await asyncio.sleep(0.05)
        message = MESSAGE.validate_json(held.body)
        assert await bench.processor.process(TENANT, [message]) == {message.id}
    assert (bench.letters(), await bench.done()) == (0, True)


async def test_a_letter_of_what_was_done_before_goes_when_the_message_comes_again(bench):
    await bench.die()
    with psycopg.connect(bench.superuser_url) as connection:
        connection.execute(
            "INSERT INTO processed_messages (tenant_id, consumer, message_id) VALUES (%s, 'events', %s)",
            (TENANT, bench.message.id),
        )
    assert await bench.process() == set()
    assert bench.letters() == 0


async def test_a_letter_is_not_filed_while_a_worker_is_about_to_finish_the_message(bench):
    async with bench.database.transaction(TENANT) as tx:
        assert await tx.processed.claim("events", [bench.message.id])
        filing = asyncio.create_task(bench.die())
        await bench.until_somebody_waits()
    await filing
    assert bench.letters() == 0


async def test_a_worker_that_finishes_while_the_letter_is_filed_settles_it(bench, monkeypatch):
    filed, go_on = asyncio.Event(), asyncio.Event()
    ends = "devops_mcp.operations.dead_letters.end_what_waits"

    async def slowly(*args: object) -> None:
        filed.set()
        await go_on.wait()

    monkeypatch.setattr(ends, slowly)
    filing = asyncio.create_task(bench.die())
    await filed.wait()
    finishing = asyncio.create_task(bench.process())
    await bench.until_somebody_waits()
    go_on.set()
    await filing
    assert await finishing == {bench.message.id}
    assert (bench.letters(), await bench.done()) == (0, True)


async def test_letters_of_others_stay(bench):
    other = bench.message.model_copy(update={"id": new_id(), "event_id": new_id()})
    await bench.filer.file(SPECS[QueueName.EVENTS], [as_received(other)])
    await bench.filer.file(SPECS[QueueName.TASKS_LOW], [as_received(bench.message)])
    await bench.die()
    assert await bench.process() == {bench.message.id}
    assert bench.letters() == 2


async def test_an_indexed_result_settles_its_letter_too(bench):
    now = datetime.now(UTC)
    kept = KeptResult(
        id=new_id(),
        tenant_id=TENANT,
        owner_id=new_id(),
        tool="fs_file_read",
        body='{"disk": "full"}',
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    posting = announced(kept, "fs")
    async with bench.database.transaction(TENANT) as tx:
        await tx.results.keep(kept, posting)
    message = MESSAGE.validate_json(posting.message)
    letter = Received(str(new_id()), "", posting.message, {}, 1, now)
    await bench.filer.file(SPECS[QueueName.INDEXING], [letter])
    assert bench.letters() == 1
    await ResultIndexer(bench.database, embeds=False).process(TENANT, [message])
    assert bench.letters() == 0

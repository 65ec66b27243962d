"""Dead letters on their way: from whoever buried them into PostgreSQL, and back to the worker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from devops_mcp.events.messages import MESSAGE, EventReceived, Message
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Depth, Outgoing, SqsQueue, open_queues
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.errors import PoisonMessage
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.dead_letters import DeadLetterFiler, DeadLetterService
from devops_mcp.repositories.database import Database, open_database
from support.tenants import add_tenant
from worker.dead_letters import DeadLetterCollector
from worker.loop import Consumer, Policy
from worker.relay import OutboxRelay

TENANT = DEFAULT_TENANT_ID
EMPTY = Depth(ready=0, in_flight=0, delayed=0)
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SPEC = replace(QUEUES[0], visibility_timeout=timedelta(seconds=1), max_receives=2)
OPERATOR = Principal(id=new_id(), tenant_id=TENANT, kind=PrincipalKind.USER, name="operator", grants=("*",))


@dataclass
class Bench:
    database: Database
    queues: Mapping[QueueName, SqsQueue]

    @property
    def queue(self) -> SqsQueue:
        return self.queues[QueueName.EVENTS]

    async def send(self, *bodies: Message | str) -> None:
        texts = [body if isinstance(body, str) else MESSAGE.dump_json(body).decode() for body in bodies]
        assert await self.queue.send_batch([Outgoing(text, traceparent=TRACE) for text in texts]) == {}

    @asynccontextmanager
    async def collecting(self, queue: Any = None) -> AsyncIterator[None]:
        stop = asyncio.Event()
        collector = DeadLetterCollector(queue or self.queue, SPEC, DeadLetterFiler(self.database))
        running = asyncio.create_task(collector.run(stop))
        try:
            async with asyncio.timeout(60):
                yield
        finally:
            stop.set()
            await running

    @asynccontextmanager
    async def consuming(self, handle: Any) -> AsyncIterator[None]:
        stop = asyncio.Event()
        consumer = Consumer(self.queue, SPEC, handle, self.database.ping, Metrics(), Policy(slots=1))
        running = asyncio.create_task(consumer.run(stop, drain_timeout_s=5))
        try:
            yield
        finally:
            stop.set()
            await running

    async def filed(self, tenant_id: UUID, count: int = 1) -> list[DeadLetter]:
        """The tenant's letters, once there are as many."""
        found: list[DeadLetter] = []
        while len(found) < count:
            await asyncio.sleep(0.02)
            async with self.database.transaction(tenant_id) as tx:
                found = await tx.dead_letters.oldest(SPEC.name, None, 100)
        return found


@pytest.fixture
async def bench(database, queues) -> AsyncIterator[Bench]:
    where = {"endpoint_url": queues.endpoint_url, "region": queues.region}
    prefix = f"test-{uuid4().hex[:12]}-"
    await create_queues(**where, prefix=prefix, specs=[SPEC])
    async with (
        open_database(database.worker_url, pool_size=4, application="test") as opened,
        open_queues(**where, prefix=prefix, specs=[SPEC]) as sqs,
    ):
        yield Bench(opened, sqs)


def a_message(tenant_id: UUID = TENANT) -> EventReceived:
    return EventReceived(id=new_id(), tenant_id=tenant_id, event_id=new_id())


def failing_while(broken: Callable[[], bool], done: asyncio.Event) -> Any:
    async def handle(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
        if broken():
            raise PoisonMessage("there is no such event")
        done.set()
        return {message.id for message in messages}

    return handle


async def test_what_a_consumer_buried_is_filed_with_reason_trace_and_attempts(bench):
    """D12"""
    message = a_message()
    await bench.send(message)
    async with bench.collecting(), bench.consuming(failing_while(lambda: True, asyncio.Event())):
        [letter] = await bench.filed(TENANT)
    assert (letter.type, letter.message_id) == ("event.received", str(message.id))
    assert letter.reason == "poison_message: there is no such event"
    assert (letter.attempts, MESSAGE.validate_json(letter.body)) == (1, message)
    assert letter.trace == TRACE
    assert await bench.queue.depth(dead_letters=True) == Depth(ready=0, in_flight=0, delayed=0)


async def test_what_the_queue_itself_gave_up_is_filed_too(bench):
    message = a_message()
    await bench.send(message)
    for _ in range(SPEC.max_receives):  # received and never answered for, as by workers that die
        [received] = await bench.queue.receive(wait_s=5)
        await bench.queue.change_visibility_batch([received.receipt], 0)
    assert await bench.queue.receive(wait_s=0) == []  # this moves it
    async with bench.collecting():
        [letter] = await bench.filed(TENANT)
    assert letter.message_id == str(message.id)
    assert letter.attempts == SPEC.max_receives
    assert letter.reason.startswith("the queue gave it up after 2 deliveries")
    assert letter.trace == TRACE


async def test_each_tenant_gets_its_own_and_what_names_none_is_the_default_tenants(bench, database):
    other, unknown = new_id(), new_id()
    add_tenant(database, other)
    await bench.send(a_message(other), a_message(unknown), "not json")
    async with bench.collecting(), bench.consuming(failing_while(lambda: True, asyncio.Event())):
        theirs, ours = await bench.filed(other), await bench.filed(TENANT, 2)
    assert [letter.type for letter in theirs] == ["event.received"]
    assert sorted(letter.type or "" for letter in ours) == ["", "event.received"]
    assert any(letter.body == "not json" for letter in ours)


async def test_a_letter_that_is_delivered_twice_is_filed_once(bench):
    """D02"""
    await bench.send(a_message())
    async with bench.consuming(failing_while(lambda: True, asyncio.Event())):
        [received] = await bench.queue.dead_letters().receive(wait_s=20)
    filer = DeadLetterFiler(bench.database)
    await filer.file(SPEC, [received])
    [first] = await bench.filed(TENANT)
    await filer.file(SPEC, [received])
    [again] = await bench.filed(TENANT)
    assert again.id == first.id


async def test_a_redriven_letter_is_handled_when_its_cause_is_mended(bench):
    broken, done = True, asyncio.Event()
    await bench.send(a_message())
    async with bench.collecting(), bench.consuming(failing_while(lambda: broken, done)):
        [letter] = await bench.filed(TENANT)
        broken = False
        service = DeadLetterService(bench.database)
        await service.redrive(OPERATOR, letter.id)
        assert await OutboxRelay(bench.database, bench.queues, Metrics()).publish_some() == 1
        await done.wait()
    async with bench.database.transaction(TENANT) as tx:
        assert await tx.dead_letters.find(letter.id) is None


class _Keeping:
    """A dead-letter queue that refuses the first deletion, and gives the letters out again once that is asked for."""

    def __init__(self, queue: SqsQueue) -> None:
        self._dead = queue.dead_letters()
        self._kept: list[str] | None = None
        self.deleted = asyncio.Event()

    def dead_letters(self) -> "_Keeping":
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dead, name)

    async def delete_batch(self, receipts: Sequence[str]) -> list[str]:
        if self._kept is None:
            self._kept = list(receipts)
            return self._kept
        refused = await self._dead.delete_batch(receipts)
        self.deleted.set()
        return refused

    async def give_out_again(self) -> None:
        await self._dead.change_visibility_batch(self._kept or [], 0)


async def test_a_letter_that_comes_again_after_its_redrive_is_not_filed_again(bench):
    """D02, I3"""
    await bench.send(a_message())
    keeping = _Keeping(bench.queue)
    async with bench.consuming(failing_while(lambda: True, asyncio.Event())):
        while (await bench.queue.depth(dead_letters=True)).ready == 0:
            await asyncio.sleep(0.02)
    with capture_logs() as logs:
        async with bench.collecting(keeping):
            [letter] = await bench.filed(TENANT)
            await DeadLetterService(bench.database).redrive(OPERATOR, letter.id)
            while not any(log["event"] == "dead letters not deleted" for log in logs):
                await asyncio.sleep(0.02)
            await keeping.give_out_again()
            await keeping.deleted.wait()
    assert await bench.filed(TENANT, 0) == []


async def test_a_letter_whose_type_cannot_be_stored_is_filed_without_it(bench):
    """D12: and the worker goes on, which the letter would else end again and again."""
    strange = f'{{"id": "{new_id()}", "tenant_id": "{TENANT}", "type": "a\\u0000b"}}'
    await bench.send(strange)
    async with bench.consuming(failing_while(lambda: False, asyncio.Event())), bench.collecting():
        [letter] = await bench.filed(TENANT)
    assert (letter.body, letter.type) == (strange, None)


async def test_a_message_that_has_had_its_effect_is_no_dead_letter(bench):
    """D01, I3: its workers died, each after the commit and before the deletion, until the queue gave it up."""
    done, other = a_message(), a_message()
    async with bench.database.transaction(TENANT) as tx:
        await tx.processed.claim("events", [done.id])
    await bench.send(done, other)
    for _ in range(SPEC.max_receives):
        taken = [received for _ in range(2) for received in await bench.queue.receive(1, wait_s=20)]
        assert len(taken) == 2
        await bench.queue.change_visibility_batch([received.receipt for received in taken], 0)
    assert await bench.queue.receive(wait_s=0) == []
    async with bench.collecting():
        [letter] = await bench.filed(TENANT)
        while await bench.queue.depth(dead_letters=True) != EMPTY:
            await asyncio.sleep(0.02)
    async with bench.database.transaction(TENANT) as tx:
        assert len(await tx.dead_letters.oldest(SPEC.name, None, 100)) == 1
    assert letter.message_id == str(other.id)


async def test_a_letter_that_cannot_be_filed_holds_up_no_other_and_stays_in_the_queue(bench, monkeypatch):
    good, bad = a_message(), a_message()
    file = DeadLetterFiler.file

    async def failing(filer, spec, letters):
        if any(str(bad.id) in letter.body for letter in letters):
            raise ValueError("a fault of ours")
        await file(filer, spec, letters)

    monkeypatch.setattr(DeadLetterFiler, "file", failing)
    with capture_logs() as lines:
        for _ in range(2):
            await bench.send(good, bad)
            good = a_message()
        async with bench.consuming(failing_while(lambda: True, asyncio.Event())), bench.collecting():
            filed = await bench.filed(TENANT, 2)
            while not any(line["event"] == "dead letter not filed" for line in lines):
                await asyncio.sleep(0.02)
    dead = await bench.queue.depth(dead_letters=True)
    assert all(str(bad.id) not in (letter.body or "") for letter in filed)
    assert dead.ready + dead.in_flight == 2

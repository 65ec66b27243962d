"""What must keep its order per context: from the transactions that write it, through relays and the queue, to the effects (I5)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from devops_mcp.events.messages import MESSAGE, CompactionRequested, Message
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Outgoing, SqsQueue, open_queues
from devops_mcp.models.errors import PlatformError, PoisonMessage, Unavailable, UpstreamUnavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.outbox import Posting
from devops_mcp.resilience.backoff import Backoff
from worker.loop import Consumer, Policy
from worker.relay import OutboxRelay

TENANT = DEFAULT_TENANT_ID
[CONTEXTS] = [spec for spec in QUEUES if spec.name is QueueName.CONTEXTS]
SPEC = replace(CONTEXTS, visibility_timeout=timedelta(seconds=2))
WITHIN_S = 60.0


@dataclass
class Effects:
    """A handler that keeps the order of effects by context, each message's once. `fails` may give an error to raise, by attempt."""

    fails: Callable[[int, int], Exception | None] = lambda number, attempt: None
    order: defaultdict[UUID, list[int]] = field(default_factory=lambda: defaultdict(list))
    attempts: defaultdict[UUID, int] = field(default_factory=lambda: defaultdict(int))
    under_way: set[UUID] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(
        self, tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]
    ) -> set[UUID]:
        [message] = messages
        assert isinstance(message, CompactionRequested)
        assert message.context_id not in self.under_way, "two of one context at once"
        self.under_way.add(message.context_id)
        try:
            await asyncio.sleep(0)
            return await self._effect(message)
        finally:
            self.under_way.discard(message.context_id)

    async def _effect(self, message: CompactionRequested) -> set[UUID]:
        self.attempts[message.id] += 1
        if error := self.fails(message.keep_tokens, self.attempts[message.id]):
            raise error
        if message.keep_tokens in self.order[message.context_id]:
            return set()
        self.order[message.context_id].append(message.keep_tokens)
        self.changed.set()
        return {message.id}

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WITHIN_S):
            while sum(map(len, self.order.values())) < count:
                self.changed.clear()
                await self.changed.wait()


class Flaky:
    """The queue, which fails to take every third request; and what it took is sometimes not said."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self._requests = 0

    async def send_batch(self, messages: Sequence[Outgoing]) -> dict[int, PlatformError]:
        self._requests += 1
        if self._requests % 3 == 1:
            raise Unavailable("nothing was sent")
        refused = await self._queue.send_batch(messages)
        if self._requests % 3 == 2:
            raise Unavailable("it was sent, and the answer is lost")
        return refused


@dataclass
class Bench:
    database: Database
    queue: SqsQueue

    async def put(self, contexts: Sequence[UUID], numbers: Sequence[int]) -> None:
        """A transaction each, so that the numbers are in the order of commits."""
        for number in numbers:
            for context_id in contexts:
                async with self.database.transaction(TENANT) as tx:
                    await tx.outbox.add(QueueName.CONTEXTS, _message(context_id, number))

    async def relay(self, *, flaky: bool = False) -> None:
        """Relay until the outbox is empty."""
        queue = Flaky(self.queue) if flaky else self.queue
        relay = OutboxRelay(self.database, {QueueName.CONTEXTS: queue}, Metrics(CollectorRegistry()))  # type: ignore[dict-item]
        while await self.pending():
            await relay.publish_some()

    async def pending(self) -> int:
        async with self.database.relaying() as outbox:
            return await outbox.pending()

    @asynccontextmanager
    async def consuming(
        self, effects: Effects, *, consumers: int = 1, batch: int = 10
    ) -> AsyncIterator[None]:
        """Consume within the block, then drain."""
        policy = Policy(slots=2, batch=batch, backoff=Backoff(random=lambda: 0.0))
        stop, metrics = asyncio.Event(), Metrics(CollectorRegistry())
        async with asyncio.TaskGroup() as tasks:
            for _ in range(consumers):
                consumer = Consumer(self.queue, SPEC, effects.handle, _well, metrics, policy)
                tasks.create_task(consumer.run(stop, drain_timeout_s=10.0))
            try:
                yield
            finally:
                stop.set()


def _message(context_id: UUID, number: int) -> CompactionRequested:
    return CompactionRequested(id=new_id(), tenant_id=TENANT, context_id=context_id, keep_tokens=number)


async def _well() -> None:
    return None


@pytest.fixture
async def bench(database, queues) -> AsyncIterator[Bench]:
    await create_queues(queues.endpoint_url, prefix=queues.prefix, specs=[SPEC])
    where = {"endpoint_url": queues.endpoint_url, "region": queues.region, "prefix": queues.prefix}
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            open_database(database.worker_url, pool_size=4, application="test")
        )
        sqs = await stack.enter_async_context(open_queues(**where, specs=[SPEC]))
        yield Bench(opened, sqs[QueueName.CONTEXTS])


async def test_relays_and_a_queue_that_fail_and_two_workers_keep_each_contexts_order(bench):
    """I5, D01: sending fails, answers are lost, handlers fail, and everything is done by several at once."""
    contexts = [new_id() for _ in range(4)]
    effects = Effects(
        lambda number, attempt: UpstreamUnavailable("not now") if (number, attempt) == (3, 1) else None
    )
    await bench.put(contexts, range(8))
    async with bench.consuming(effects, consumers=2):
        await asyncio.gather(bench.relay(flaky=True), bench.relay(flaky=True), bench.relay())
        await effects.until(32)
    assert effects.order == {context_id: list(range(8)) for context_id in contexts}


async def test_while_the_first_of_a_group_is_being_published_the_next_is_nobodys(database):
    async with open_database(database.worker_url, pool_size=3, application="test") as opened:
        ours, other = new_id(), new_id()
        await Bench(opened, None).put([ours, other], range(2))  # type: ignore[arg-type]
        async with opened.relaying() as one, opened.relaying() as two:
            [first, beside] = await one.take(10)
            assert await two.take(10) == []
            await one.remove([first.id])
        async with opened.relaying() as three:
            [next_, still] = await three.take(10)
    assert (first.group_id, beside.group_id) == (ours, other)
    assert (next_.group_id, still.group_id) == (other, ours)
    assert next_.id == beside.id, "what was not published stays first"


async def test_who_commits_first_is_first_whoever_began_first(bench):
    context_id = new_id()
    begun, go = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with bench.database.transaction(TENANT) as tx:
            begun.set()
            await go.wait()
            await tx.outbox.add(QueueName.CONTEXTS, _message(context_id, 1))

    waiting = asyncio.create_task(late())
    await begun.wait()
    await bench.put([context_id], [0])
    go.set()
    await waiting
    effects = Effects()
    async with bench.consuming(effects):
        await bench.relay()
        await effects.until(2)
    assert effects.order[context_id] == [0, 1]


async def test_what_fails_in_the_middle_of_a_batch_takes_back_what_follows_it_and_no_other_context(bench):
    """I5: and what follows is not handled before it has succeeded."""
    contexts = [new_id(), new_id()]
    effects = Effects(
        lambda number, attempt: UpstreamUnavailable("not now") if number == 2 and attempt < 3 else None
    )
    await bench.put(contexts[:1], range(5))
    await bench.put(contexts[1:], range(2))
    await bench.relay()
    async with bench.consuming(effects):
        await effects.until(7)
    assert [effects.order[context_id] for context_id in contexts] == [list(range(5)), [0, 1]]
    assert sorted(effects.attempts.values()) == [1] * 6 + [3]


async def test_what_died_in_the_middle_of_a_batch_holds_up_neither_its_context_nor_others(bench):
    """D12: and it is in the dead-letter queue."""
    contexts = [new_id(), new_id()]
    effects = Effects(lambda number, attempt: PoisonMessage("never") if number == 1 else None)
    await bench.put(contexts, range(4))
    await bench.relay()
    async with bench.consuming(effects):
        await effects.until(6)
    assert [effects.order[context_id] for context_id in contexts] == [[0, 2, 3], [0, 2, 3]]
    assert (await bench.queue.depth(dead_letters=True)).ready == 2


async def test_what_a_killed_worker_held_comes_first_again(bench):
    """D01: it took a batch and did the first of it."""
    context_id = new_id()
    await bench.put([context_id], range(6))
    await bench.relay()
    held = await bench.queue.receive(wait_s=20)
    effects = Effects()
    await effects.handle(TENANT, [MESSAGE.validate_json(held[0].body)], {})
    async with bench.consuming(effects, consumers=2, batch=1):
        await effects.until(6)
    assert len(held) == 6
    assert effects.order[context_id] == list(range(6))


async def test_a_dead_letter_that_is_sent_again_is_no_repetition(bench):
    """A FIFO queue forgets for five minutes what comes under an id that it has had."""
    message = _message(new_id(), 0)
    again = Posting(
        message.id, QueueName.CONTEXTS, MESSAGE.dump_json(message).decode(), None, message.context_id
    )
    for _ in range(2):
        async with bench.database.transaction(TENANT) as tx:
            await tx.outbox.post([again])
        await bench.relay()
        [received] = await bench.queue.receive(wait_s=20)
        assert MESSAGE.validate_json(received.body) == message
        await bench.queue.delete_batch([received.receipt])

"""The worker's loop over a real queue."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from devops_mcp.events.messages import MESSAGE, EventReceived, Message
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QueueName, QueueSpec
from devops_mcp.events.sqs import Outgoing, Received, SqsQueue, open_queues
from devops_mcp.models.errors import PoisonMessage, Unavailable
from devops_mcp.models.ids import new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.resilience.backoff import Backoff
from worker.loop import Consumer, Handle, Policy

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = f"00-{TRACE_ID}-b7ad6b7169203331-01"
AT_ONCE = Backoff(random=lambda: 0.0)
SPEC = QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=30), max_receives=3)
BRIEF = QueueSpec(QueueName.EVENTS, visibility_timeout=timedelta(seconds=2), max_receives=3)


@dataclass
class Recorder:
    """A handler that keeps what it was given. `fails` may give an error to raise."""

    fails: Callable[[Sequence[Message]], Exception | None] = lambda messages: None
    groups: list[tuple[UUID, list[UUID]]] = field(default_factory=list)
    traces: dict[UUID, str] = field(default_factory=dict)
    done: set[UUID] = field(default_factory=set)
    attempts: Counter[UUID] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(
        self, tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]
    ) -> set[UUID]:
        ids = [message.id for message in messages]
        self.groups.append((tenant_id, ids))
        self.attempts.update(ids)
        self.traces |= traces
        self.changed.set()
        if error := self.fails(messages):
            raise error
        fresh = set(ids) - self.done
        self.done |= fresh
        return fresh

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self.changed.clear()
            await self.changed.wait()


@dataclass
class Bench:
    """One queue, its dead letters and what the consumer counted."""

    queue: SqsQueue
    dead: SqsQueue
    spec: QueueSpec
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))

    async def send(self, *bodies: Message | str) -> None:
        texts = [body if isinstance(body, str) else MESSAGE.dump_json(body).decode() for body in bodies]
        assert await self.queue.send_batch([Outgoing(text, traceparent=TRACE) for text in texts]) == {}

    @asynccontextmanager
    async def consuming(self, handle: Handle, **options: Any) -> AsyncIterator[asyncio.Event]:
        """Run a consumer within the block; it is stopped at the end if it was not before."""
        stop = asyncio.Event()
        drain_timeout_s = options.pop("drain_timeout_s", 10.0)
        probe = options.pop("probe", _well)
        queue = options.pop("queue", self.queue)
        policy = Policy(**{"slots": 2, "backoff": AT_ONCE, **options})
        consumer = Consumer(queue, self.spec, handle, probe, self.metrics, policy)
        running = asyncio.create_task(consumer.run(stop, drain_timeout_s=drain_timeout_s))
        try:
            yield stop
        finally:
            stop.set()
            await running

    async def left(self) -> int:
        """Messages that the queue still knows of."""
        depth = await self.queue.depth()
        return depth.ready + depth.in_flight + depth.delayed

    async def buried(self, count: int = 1) -> list[Received]:
        letters: list[Received] = []
        while len(letters) < count:
            letters += await self.dead.receive(wait_s=20)
        return letters

    def counted(self, outcome: str) -> float | None:
        labels = {"queue": "events", "outcome": outcome}
        return self.metrics.registry.get_sample_value("devops_mcp_queue_messages_total", labels)


@asynccontextmanager
async def a_bench(queues, spec: QueueSpec) -> AsyncIterator[Bench]:
    prefix = f"test-{uuid4().hex[:12]}-"
    await create_queues(queues.endpoint_url, prefix=prefix, specs=[spec])
    dead = QueueSpec(QueueName.EVENTS, timedelta(seconds=30), 1)
    where = {"endpoint_url": queues.endpoint_url, "region": queues.region}
    async with (
        open_queues(**where, prefix=prefix, specs=[spec]) as opened,
        open_queues(**where, prefix=prefix, specs=[_DeadLetters(dead)]) as letters,  # type: ignore[list-item]
    ):
        yield Bench(opened[QueueName.EVENTS], letters[QueueName.EVENTS], spec)


class _DeadLetters:
    """The dead-letter queue, as a queue to receive from."""

    def __init__(self, spec: QueueSpec) -> None:
        self._spec = spec
        self.name, self.fifo = spec.name, False

    def queue(self, prefix: str) -> str:
        return self._spec.dead_letter_queue(prefix)

    def dead_letter_queue(self, prefix: str) -> str:
        return f"{self.queue(prefix)}-dead"


@pytest.fixture
async def bench(queues) -> AsyncIterator[Bench]:
    async with a_bench(queues, SPEC) as made:
        yield made


def a_message(tenant_id: UUID | None = None) -> EventReceived:
    return EventReceived(id=new_id(), tenant_id=tenant_id or new_id(), event_id=new_id())


async def _well() -> None:
    return None


async def test_messages_are_handled_in_groups_by_tenant_and_deleted(bench):
    one, other = new_id(), new_id()
    messages = [a_message(one) for _ in range(6)] + [a_message(other) for _ in range(3)]
    await bench.send(*messages)
    recorder = Recorder()
    async with bench.consuming(recorder.handle, slots=1):
        await recorder.until(lambda: len(recorder.done) == 9)
    assert sorted(len(ids) for _, ids in recorder.groups) == [3, 6]
    assert {tenant for tenant, _ in recorder.groups} == {one, other}
    assert await bench.left() == 0
    assert bench.counted("done") == 9


async def test_however_many_tenants_no_more_handlers_run_at_once_than_there_are_slots(bench):
    await bench.send(*(a_message() for _ in range(10)))
    recorder, running, most = Recorder(), 0, 0

    async def watched(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return await recorder.handle(tenant_id, messages, traces)

    async with bench.consuming(watched, slots=2):
        await recorder.until(lambda: len(recorder.done) == 10)
    assert most == 2


async def test_a_backlog_makes_larger_groups(bench):
    tenant = new_id()
    await bench.send(*(a_message(tenant) for _ in range(50)))
    recorder = Recorder()
    async with bench.consuming(recorder.handle, slots=1, further=4):
        await recorder.until(lambda: len(recorder.done) == 50)
    assert [len(ids) for _, ids in recorder.groups] == [50]


async def test_a_handler_works_in_the_trace_of_the_message(bench):
    message = a_message()
    await bench.send(message)
    recorder = Recorder()
    async with bench.consuming(recorder.handle):
        await recorder.until(lambda: bool(recorder.done))
    assert recorder.traces[message.id].split("-")[1] == TRACE_ID
    assert recorder.traces[message.id] != TRACE


async def test_poison_is_buried_with_its_reason_and_its_neighbours_are_handled(bench):
    """D12"""
    tenant = new_id()
    poison, *neighbours = (a_message(tenant) for _ in range(8))
    await bench.send(*neighbours[:4], poison, *neighbours[4:])

    def fails(messages: Sequence[Message]) -> Exception | None:
        return PoisonMessage("there is no such event") if poison in messages else None

    recorder = Recorder(fails)
    async with bench.consuming(recorder.handle, slots=1):
        [letter] = await bench.buried()
        await recorder.until(lambda: recorder.done == {n.id for n in neighbours})
    assert MESSAGE.validate_json(letter.body) == poison
    assert letter.attributes["dead_letter_reason"] == "poison_message: there is no such event"
    assert letter.traceparent == TRACE
    assert max(recorder.attempts[n.id] for n in neighbours) <= 2
    assert await bench.left() == 0
    assert (bench.counted("done"), bench.counted("dead")) == (7, 1)


@pytest.mark.parametrize("body", ["not json", "{}", '{"type": "unknown", "id": "canary-3f1c"}', "[" * 10_000])
async def test_what_is_no_message_of_ours_is_buried_unhandled(bench, body):
    """D12"""
    await bench.send(body)
    recorder = Recorder()
    async with bench.consuming(recorder.handle):
        [letter] = await bench.buried()
    assert letter.body == body
    assert letter.attributes["dead_letter_reason"].startswith("not a message of ours")
    assert "canary" not in letter.attributes["dead_letter_reason"]
    assert recorder.groups == []
    assert await bench.left() == 0


async def test_a_handler_that_always_raises_is_tried_to_the_limit_and_no_further(bench):
    """D12, I7"""
    message = a_message()
    await bench.send(message)
    recorder = Recorder(lambda messages: RuntimeError("canary-3f1c"))
    async with bench.consuming(recorder.handle):
        [letter] = await bench.buried()
    assert recorder.attempts[message.id] == SPEC.max_receives
    assert letter.attributes["dead_letter_reason"] == "RuntimeError"
    assert letter.attributes["dead_letter_attempt"] == str(SPEC.max_receives)
    assert await bench.left() == 0


async def test_a_handler_that_hangs_is_cut_off_and_the_message_tried_again(bench):
    message = a_message()
    await bench.send(message)
    recorder, hung = Recorder(), []

    async def hang_once(
        tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]
    ) -> set[UUID]:
        if not hung:
            hung.append(messages)
            await asyncio.Event().wait()
        return await recorder.handle(tenant_id, messages, traces)

    async with bench.consuming(hang_once, handler_timeout_s=0.2):
        await recorder.until(lambda: message.id in recorder.done)
    assert bench.counted("returned") == 1


async def test_an_outage_is_waited_out_and_uses_up_no_attempts(bench):
    """P01"""
    messages = [a_message() for _ in range(4)]
    await bench.send(*messages)
    over = asyncio.Event()
    probes = 0

    async def probe() -> None:
        nonlocal probes
        probes += 1
        if probes < 4:
            raise Unavailable("the database cannot be reached")
        over.set()

    recorder = Recorder(
        lambda batch: None if over.is_set() else Unavailable("the database cannot be reached")
    )
    async with bench.consuming(recorder.handle, slots=1, probe=probe):
        await recorder.until(lambda: len(recorder.done) == 4)
    assert max(recorder.attempts.values()) == 2
    assert probes >= 4
    assert bench.counted("dead") is None
    assert bench.counted("returned") is None


async def test_outages_one_after_the_other_bury_no_message(bench):
    """P02, I7: a database that comes and goes, with a limit of three deliveries."""
    message, failures = a_message(), iter(range(7))
    await bench.send(message)
    recorder = Recorder(
        lambda batch: Unavailable("it has gone again") if next(failures, None) is not None else None
    )
    async with bench.consuming(recorder.handle, slots=1):
        await recorder.until(lambda: message.id in recorder.done)
    assert bench.counted("dead") is None
    assert bench.counted("returned") == 2


class _Counting:
    """The queue, with a count of the extensions."""

    def __init__(self, queue: SqsQueue) -> None:
        self._queue = queue
        self.extensions = 0
        self.extended = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def change_visibility_batch(self, receipts: Sequence[str], visibility_s: int) -> list[str]:
        lost = await self._queue.change_visibility_batch(receipts, visibility_s)
        self.extensions += 1
        if self.extensions == 4:
            self.extended.set()
        return lost


async def test_a_message_is_kept_while_its_handler_runs_longer_than_the_visibility_timeout(queues):
    async with a_bench(queues, BRIEF) as bench:
        await bench.send(a_message())
        counting, recorder = _Counting(bench.queue), Recorder()

        async def slow(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
            result = await recorder.handle(tenant_id, messages, traces)
            await counting.extended.wait()  # four thirds of the visibility timeout
            return result

        async with bench.consuming(slow, queue=counting):
            await counting.extended.wait()
        assert list(recorder.attempts.values()) == [1]
        assert await bench.left() == 0


async def test_on_stop_what_is_under_way_is_finished_and_nothing_more_received(bench):
    await bench.send(a_message())
    recorder, go_on = Recorder(), asyncio.Event()

    async def patient(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
        result = await recorder.handle(tenant_id, messages, traces)
        await go_on.wait()
        return result

    async with bench.consuming(patient, slots=1) as stop:
        await recorder.until(lambda: bool(recorder.groups))
        stop.set()
        await bench.send(a_message())
        go_on.set()
    assert len(recorder.done) == 1
    assert (await bench.queue.depth()).ready == 1
    assert await bench.left() == 1


async def test_on_stop_what_does_not_end_in_time_is_given_back_at_once(bench):
    message = a_message()
    await bench.send(message)
    started = asyncio.Event()

    async def hang(tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]) -> set[UUID]:
        started.set()
        await asyncio.Event().wait()
        return set()

    async with bench.consuming(hang, drain_timeout_s=0.1) as stop:
        await started.wait()
        stop.set()
    [returned] = await bench.queue.receive(wait_s=20)
    assert MESSAGE.validate_json(returned.body) == message


async def test_a_fault_of_ours_outside_of_a_handler_does_not_end_the_consumer(bench):
    class Faulty:
        """The queue, whose first answer is none that we can read."""

        answered = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.queue, name)

        async def receive(self, *args: Any, **options: Any) -> list[Received]:
            self.answered += 1
            if self.answered == 1:
                raise KeyError("Attributes")
            return await bench.queue.receive(*args, **options)

    await bench.send(a_message())
    recorder = Recorder()
    async with bench.consuming(recorder.handle, queue=Faulty()), asyncio.timeout(60):
        await recorder.until(lambda: len(recorder.done) == 1)
    assert await bench.left() == 0

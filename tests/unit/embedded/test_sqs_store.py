"""The queue server's state machine, with a clock that we turn."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devops_mcp.embedded.sqs.drafts import Draft
from devops_mcp.embedded.sqs.errors import Refused
from devops_mcp.embedded.sqs.handles import handle_of
from devops_mcp.embedded.sqs.journal import decode, encode
from devops_mcp.embedded.sqs.moves import MoveStatus, MoveTasks
from devops_mcp.embedded.sqs.queue import Place
from devops_mcp.embedded.sqs.records import Message, Put, Record
from devops_mcp.embedded.sqs.settings import arn_of
from devops_mcp.embedded.sqs.store import Store

NAME = "jobs"
FIFO = "jobs.fifo"
VISIBILITY_S = 30


class World:
    """A store, its clock and its records."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.records: list[bytes] = []
        numbers = itertools.count(1)
        self.store = Store(
            clock=lambda: self.now, new_id=lambda: f"m{next(numbers)}", recorded=self._recorded
        )

    def _recorded(self, record: Record) -> None:
        self.records.append(encode(record))

    def queue(self, name: str = NAME, **attributes: Any) -> None:
        kind = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        self.store.create(name, {**kind, **{key: str(value) for key, value in attributes.items()}}, {})

    def send(self, body: str, name: str = NAME, **more: Any) -> str:
        if name.endswith(".fifo"):
            more = {"group": "a", "deduplication_id": body, **more}
        return self.store.send(name, Draft(body, {}, {}, **more)).message_id

    def receive(self, limit: int = 10, name: str = NAME, visibility_s: int | None = None) -> list[str]:
        return [message.body for message in self.store.receive(name, limit, visibility_s)]

    def counts(self, name: str = NAME) -> tuple[int, int, int]:
        queue = self.store.queue(name)
        visible, in_flight, delayed = (
            queue.count(place, self.now) for place in (Place.VISIBLE, Place.IN_FLIGHT, Place.DELAYED)
        )
        return visible, in_flight, delayed

    def replayed(self) -> "World":
        """A world made of this one's journal."""
        world = World()
        world.now = self.now
        for line in self.records:
            record = decode(line)
            assert record is not None
            world.store.apply(record)
        return world

    def content(self) -> list[Record]:
        """What a journal would be compacted to, in one order."""
        records = list(self.store.snapshot())
        for record in records:
            if isinstance(record, Put):
                record.messages.sort(key=lambda message: message.sequence)
        return records


@pytest.fixture
def world() -> World:
    world = World()
    world.queue()
    return world


def test_a_lease_ends_exactly_at_its_time(world: World):
    world.send("x")
    world.receive()

    world.now += VISIBILITY_S - 0.001
    assert world.receive() == []
    world.now += 0.001
    assert world.receive() == ["x"]


def test_the_next_event_is_the_earliest_of_what_is_hidden_now(world: World):
    world.send("late", delay_s=20)
    world.send("later", delay_s=50)
    queue = world.store.queue(NAME)
    assert queue.next_due() == world.now + 20

    world.now += 20
    (message,) = world.store.receive(NAME, 1)
    assert queue.next_due() == world.now + 30

    world.store.acknowledge(NAME, handle_of(NAME, message))
    world.now += 30
    assert world.receive() == ["later"]
    world.store.purge(NAME)
    assert queue.next_due() is None


def test_an_older_lease_cannot_be_extended_by_who_lost_it(world: World):
    world.send("x")
    (mine,) = world.store.receive(NAME, 1)
    handle = handle_of(NAME, mine)
    world.now += VISIBILITY_S
    world.receive()

    with pytest.raises(Refused) as refused:
        world.store.change_visibility(NAME, handle, 0)

    assert refused.value.code == "InvalidParameterValue"
    assert world.counts() == (0, 1, 0)


def test_a_message_that_nobody_holds_has_no_lease_to_change(world: World):
    world.send("x")
    (message,) = world.store.receive(NAME, 1)
    world.now += VISIBILITY_S

    with pytest.raises(Refused) as refused:
        world.store.change_visibility(NAME, handle_of(NAME, message), 10)

    assert refused.value.kind == "MessageNotInflight"


def test_messages_older_than_the_retention_are_dropped(world: World):
    world.queue("short", MessageRetentionPeriod=60)
    world.send("old", "short")
    world.now += 30
    world.send("new", "short")

    world.now += 30
    assert world.receive(name="short") == ["new"]

    world.now += 60
    world.store.expire()
    assert world.counts("short") == (0, 0, 0)


def test_a_deduplication_id_is_forgotten_after_five_minutes():
    world = World()
    world.queue(FIFO)
    first = world.send("x", FIFO)
    world.receive(name=FIFO, visibility_s=0)

    world.now += 299
    assert world.send("x", FIFO) == first
    world.now += 1
    assert world.send("x", FIFO) != first


def test_deduplication_may_be_by_group():
    world = World()
    world.queue(FIFO, DeduplicationScope="messageGroup")

    same = {world.send("x", FIFO, group="a"), world.send("x", FIFO, group="a")}
    other = world.send("x", FIFO, group="b")

    assert len(same) == 1
    assert other not in same


def test_a_fifo_queues_new_delay_holds_for_what_waits_already():
    world = World()
    world.queue(FIFO, DelaySeconds=60)
    world.send("x", FIFO)

    world.store.set_attributes(FIFO, {"DelaySeconds": "10"})

    world.now += 10
    assert world.receive(name=FIFO) == ["x"]


def test_a_group_is_blocked_until_the_last_of_it_is_back():
    world = World()
    world.queue(FIFO)
    for body in ("1", "2", "3"):
        world.send(body, FIFO)
    one, _two = world.store.receive(FIFO, 2)

    world.store.change_visibility(FIFO, handle_of(FIFO, one), 0)
    assert world.receive(name=FIFO) == []

    world.now += VISIBILITY_S
    assert world.receive(name=FIFO) == ["1", "2", "3"]


def test_dead_letters_need_a_queue_that_exists_and_is_of_the_same_kind(world: World):
    world.queue(FIFO)
    for target in ("none", FIFO):
        policy = json.dumps({"deadLetterTargetArn": arn_of(target), "maxReceiveCount": 1})
        with pytest.raises(Refused) as refused:
            world.store.set_attributes(NAME, {"RedrivePolicy": policy})
        assert refused.value.code == "InvalidParameterValue"


def test_a_message_stays_deliverable_when_its_dead_letter_queue_is_gone(world: World):
    world.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": arn_of("dead"), "maxReceiveCount": "1"})
    world.store.set_attributes(NAME, {"RedrivePolicy": policy})
    world.send("x")
    world.receive(visibility_s=0)

    world.store.delete("dead")

    assert world.receive() == ["x"]


def test_a_move_that_knows_no_source_fails_and_moves_nothing(world: World):
    world.queue("dead")
    policy = json.dumps({"deadLetterTargetArn": arn_of("dead"), "maxReceiveCount": 1})
    world.store.set_attributes(NAME, {"RedrivePolicy": policy})
    world.send("sent there directly", "dead")
    moves = MoveTasks(world.store)

    task = moves.start(arn_of("dead"), None, None)
    moves.step(task)

    assert (task.status, task.failure) == (MoveStatus.FAILED, "CouldNotDetermineMessageSource")
    assert world.receive(name="dead") == ["sent there directly"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("DelaySeconds", "-1"),
        ("MaximumMessageSize", "1e3"),
        ("DelaySeconds", "²"),
    ],
)
def test_an_attribute_outside_its_range_is_refused(world: World, name: str, value: str):
    with pytest.raises(Refused) as refused:
        world.store.set_attributes(NAME, {name: value})
    assert refused.value.kind == "InvalidAttributeValue"


class AnyHistory(RuleBasedStateMachine):
    """Whatever senders and receivers do, nothing is lost or held by two, groups keep their order, and the journal tells the same story."""

    @initialize(fifo=st.booleans(), max_receives=st.sampled_from([None, 2]))
    def begin(self, fifo: bool, max_receives: int | None) -> None:
        self.world = World()
        self.name = FIFO if fifo else NAME
        self.dead = "dead.fifo" if fifo else "dead"
        self.world.queue(self.dead)
        self.world.queue(self.name)
        if max_receives is not None:
            policy = {"deadLetterTargetArn": arn_of(self.dead), "maxReceiveCount": max_receives}
            self.world.store.set_attributes(self.name, {"RedrivePolicy": json.dumps(policy)})
        self.bodies = itertools.count(1)
        self.live: set[str] = set()
        self.leases: dict[str, tuple[Message, str, float]] = {}

    @rule(group=st.sampled_from("ab"), delay_s=st.sampled_from([0, 0, 5]))
    def send(self, group: str, delay_s: int) -> None:
        more = {"group": group} if self.name == FIFO else {"delay_s": delay_s}
        self.live.add(self.world.send(f"{next(self.bodies):04}", self.name, **more))

    @rule(limit=st.integers(1, 4), visibility_s=st.sampled_from([0, 1, 7]))
    def receive(self, limit: int, visibility_s: int) -> None:
        now = self.world.now
        messages = self.world.store.receive(self.name, limit, visibility_s)
        assert len({message.id for message in messages}) == len(messages) <= limit
        held = {m.group for m, _, until in self.leases.values() if until > now}
        for message in messages:
            assert message.id in self.live
            assert message.id not in self.leases or self.leases[message.id][2] <= now
            assert message.group is None or message.group not in held
            self.leases[message.id] = (message, handle_of(self.name, message), now + visibility_s)
        self._check_order(messages)

    def _check_order(self, messages: list[Message]) -> None:
        for group in "ab":
            bodies = [message.body for message in messages if message.group == group]
            assert bodies == sorted(bodies)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        message_id, (_, handle, until) = data.draw(
            st.sampled_from(sorted(self.leases.items(), key=lambda i: i[0]))
        )
        expired = until <= self.world.now
        try:
            self.world.store.acknowledge(self.name, handle)
        except Refused:
            assert self.name == FIFO
            assert expired
        else:
            del self.leases[message_id]
            if self.world.store.queue(self.dead).get(message_id) is None:
                self.live.discard(message_id)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), visibility_s=st.sampled_from([0, 3, 20]))
    def change_visibility(self, data: st.DataObject, visibility_s: int) -> None:
        message_id, (message, handle, until) = data.draw(
            st.sampled_from(sorted(self.leases.items(), key=lambda i: i[0]))
        )
        now = self.world.now
        try:
            self.world.store.change_visibility(self.name, handle, visibility_s)
        except Refused:
            assert until <= now
        else:
            assert until > now
            self.leases[message_id] = (message, handle, now + visibility_s)

    @rule(seconds=st.sampled_from([0.5, 1, 6]))
    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        kept = {
            message.id
            for name in (self.name, self.dead)
            for message in self.world.store.queue(name).messages()
        }
        assert kept == self.live
        assert sum(self.world.counts(self.name)) + sum(self.world.counts(self.dead)) == len(self.live)

    @invariant()
    def the_counts_are_those_of_the_messages(self) -> None:
        now = self.world.now
        messages = list(self.world.store.queue(self.name).messages())
        hidden = [message for message in messages if message.visible_at > now]
        in_flight = sum(message.receive_count > 0 for message in hidden)
        assert self.world.counts(self.name) == (
            len(messages) - len(hidden),
            in_flight,
            len(hidden) - in_flight,
        )

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        again = self.world.replayed()
        assert again.content() == self.world.content()
        for world in (self.world, again):
            world.now += 1_000
            assert self._drain(world) == self.live

    def _drain(self, world: World) -> set[str]:
        """Every message that can still be received, from the queue and its dead letters."""
        drained: set[str] = set()
        for name in (self.name, self.dead):
            while messages := world.store.receive(name, 3, 100):
                for message in messages:
                    assert message.id not in drained
                    drained.add(message.id)
                    world.store.acknowledge(name, handle_of(name, message))
        return drained


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_history = AnyHistory.TestCase

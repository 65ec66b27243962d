"""What waits for a message ends when the message dies, and goes on where its letter is sent again; against PostgreSQL."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, LiteralString, cast
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.events.messages import MESSAGE, Message, ReplayDue, TaskReady
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Received
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.replays import ReplayConsumer, ReplayDraft, ReplayStatus
from devops_mcp.models.rules import RunOutcome
from devops_mcp.models.tasks import NewTask, Task, TaskOrigin, TaskResult, TaskStatus
from devops_mcp.models.webhooks import DeliveryStatus, EndpointDraft
from devops_mcp.operations import event_replays
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.dead_letters import DeadLetterFiler, DeadLetterService
from devops_mcp.operations.event_replays import Replayer, ReplayService
from devops_mcp.operations.task_runner import MAX_ATTEMPTS, TaskRunner
from devops_mcp.operations.tasks import enqueue_abandoned, start_tasks
from devops_mcp.operations.tools import ToolService
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService, notify_all
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.rule_runs import NewRun
from support.happenings import happen
from support.servers import LOOPBACK
from support.services import new_key

TENANT = DEFAULT_TENANT_ID
SPECS = {spec.name: spec for spec in QUEUES}
REASON = "internal: the handler is broken"


@dataclass
class Bench:
    owner: Principal
    app: Database
    worker: Database
    superuser_url: str

    def waiting(self, queue: QueueName) -> list[Message]:
        """What is in the outbox for the queue; taken out of it."""
        with psycopg.connect(self.superuser_url) as connection:
            found = connection.execute(
                "DELETE FROM outbox WHERE queue = %s AND due_at <= clock_timestamp() RETURNING message",
                (queue,),
            ).fetchall()
        return [MESSAGE.validate_json(row[0]) for row in found]

    async def die(
        self, queue: QueueName, message: Message, *, died: str | None = None, letter: str | None = None
    ) -> None:
        """A letter about the message comes out of the queue, under these ids of the queue's."""
        epitaph = {"dead_letter_reason": REASON, "dead_letter_attempt": "5"}
        epitaph["dead_letter_message_id"] = died or str(new_id())
        body = MESSAGE.dump_json(message).decode()
        received = Received(letter or str(new_id()), "", body, epitaph, 1, datetime.now(UTC))
        await DeadLetterFiler(self.worker).file(SPECS[queue], [received])

    def as_an_older_version(self, statement: LiteralString, *values: UUID) -> None:
        with psycopg.connect(self.superuser_url) as connection:
            assert connection.execute(statement, values).rowcount == 1

    def letters(self) -> int:
        with psycopg.connect(self.superuser_url) as connection:
            [count] = connection.execute("SELECT count(*) FROM dead_letters").fetchone() or [0]
        return int(count)

    async def redrive(self, queue: QueueName) -> None:
        assert (await DeadLetterService(self.app).redrive_all(self.owner, queue)).redriven == 1


@pytest.fixture
async def bench(database) -> AsyncIterator[Bench]:
    key_id = new_id()
    await new_key(database.owner_url, id=key_id)
    async with (
        open_database(database.app_url, pool_size=2, application="test") as app,
        open_database(database.worker_url, pool_size=2, application="test") as worker,
    ):
        owner = Principal(id=key_id, tenant_id=TENANT, kind=PrincipalKind.AGENT, name="me", grants=("*",))
        yield Bench(owner, app, worker, database.superuser_url)


async def test_a_replay_whose_message_died_says_why_and_goes_on_where_it_was(
    bench, database, redis_url, monkeypatch
):
    monkeypatch.setattr(event_replays, "CHUNK", 2)
    events = await happen(database.worker_url, redis_url, 1, 2, 3)
    service, replayer = ReplayService(bench.app), Replayer(bench.worker, embeds=False)
    everything = EventsWanted(since=datetime(2020, 1, 1, tzinfo=UTC))
    draft = ReplayDraft(events=everything, consumer=ReplayConsumer.PROCESSING)
    replay = await service.start(bench.owner, draft)
    [first] = bench.waiting(QueueName.TASKS_LOW)
    assert isinstance(first, ReplayDue)
    await replayer.process(TENANT, [first])
    await bench.die(QueueName.TASKS_LOW, first)
    assert (await service.get(bench.owner, replay.id)).status is ReplayStatus.RUNNING, (
        "that one had its effect"
    )
    [second] = bench.waiting(QueueName.TASKS_LOW)
    for _ in range(2):  # the letter is delivered twice
        await bench.die(QueueName.TASKS_LOW, second)
    failed = await service.get(bench.owner, replay.id)
    assert (failed.status, failed.done, failed.error) == (
        ReplayStatus.FAILED,
        2,
        f"its message died: {REASON}",
    )
    other = await service.start(bench.owner, draft)
    await service.cancel(bench.owner, other.id)
    bench.waiting(QueueName.TASKS_LOW)
    await bench.redrive(QueueName.TASKS_LOW)
    again = bench.waiting(QueueName.TASKS_LOW)
    await replayer.process(TENANT, [m for m in again if isinstance(m, ReplayDue)])
    ended = await service.get(bench.owner, replay.id)
    assert (ended.status, ended.done, ended.error) == (ReplayStatus.COMPLETED, len(events), None)


async def test_a_replay_stays_failed_while_another_to_its_consumer_runs(bench, database, redis_url):
    await happen(database.worker_url, redis_url, 1)
    service = ReplayService(bench.app)
    everything = EventsWanted(since=datetime(2020, 1, 1, tzinfo=UTC))
    draft = ReplayDraft(events=everything, consumer=ReplayConsumer.PROCESSING)
    replay = await service.start(bench.owner, draft)
    [message] = bench.waiting(QueueName.TASKS_LOW)
    await bench.die(QueueName.TASKS_LOW, message)
    await service.start(bench.owner, draft)
    await bench.redrive(QueueName.TASKS_LOW)
    assert (await service.get(bench.owner, replay.id)).status is ReplayStatus.FAILED


async def test_a_delivery_whose_message_died_has_failed_and_is_on_its_way_again_with_the_letter(
    bench, database, redis_url
):
    endpoints = WebhookEndpointService(bench.app, SecretSeal(Keyring([SecretStr("k" * 32)])), LOOPBACK)
    endpoint = await endpoints.create(
        bench.owner, EndpointDraft(name="receiver", url="http://127.0.0.1:9/", filter=None)
    )
    [event_id] = await happen(database.worker_url, redis_url, 1)
    async with bench.worker.transaction(TENANT) as tx:
        [delivery] = await tx.webhook_deliveries.create([(endpoint.id, event_id)], new_id())
        await notify_all(tx, [delivery], {})
    [first] = bench.waiting(QueueName.NOTIFICATIONS)

    async def state() -> tuple[DeliveryStatus, str | None]:
        found = await endpoints.delivery(bench.owner, endpoint.id, delivery.id)
        return found.status, found.last_error

    died = (DeliveryStatus.FAILED, f"its message died: {REASON}")
    await bench.die(QueueName.NOTIFICATIONS, first)
    assert await state() == died
    await bench.redrive(QueueName.NOTIFICATIONS)
    assert (await state())[0] is DeliveryStatus.PENDING
    await bench.die(QueueName.NOTIFICATIONS, first)
    await endpoints.resend(bench.owner, endpoint.id, delivery.id)
    [newer] = [one for one in bench.waiting(QueueName.NOTIFICATIONS) if one.id != first.id]
    await bench.die(QueueName.NOTIFICATIONS, first)
    assert (await state())[0] is DeliveryStatus.PENDING, "it waits for the newer message"
    await bench.die(QueueName.NOTIFICATIONS, newer)
    assert await state() == died

    await endpoints.resend(bench.owner, endpoint.id, delivery.id)
    bench.as_an_older_version(  # which tries it, and sends a message for its next attempt
        "UPDATE webhook_deliveries SET attempts = 1, next_at = now() + interval '1 s' WHERE id = %s",
        delivery.id,
    )
    untold = first.model_copy(update={"id": new_id()})
    await bench.die(QueueName.NOTIFICATIONS, untold)
    assert await state() == died, "or it would wait for ever"
    bench.as_an_older_version(
        "UPDATE webhook_deliveries SET status = 'pending', attempts = 0, next_at = now() WHERE id = %s",
        delivery.id,
    )
    await bench.die(QueueName.NOTIFICATIONS, untold.model_copy(update={"id": new_id()}))
    assert await state() == died, "sent again"


async def test_a_context_whose_compaction_died_may_be_summed_up_again(bench):
    contexts = ContextService(bench.app, embeds=False, compact_above=0)
    context = await contexts.create(bench.owner, "a long night")
    await contexts.compact(bench.owner, context.id, keep_tokens=0)
    [message] = bench.waiting(QueueName.CONTEXTS)

    async def compacting() -> UUID | None:
        return (await contexts.get(bench.owner, context.id)).compaction_id

    assert await compacting() == message.id
    await bench.die(QueueName.CONTEXTS, message)
    assert await compacting() is None
    await bench.redrive(QueueName.CONTEXTS)
    assert await compacting() == message.id


@pytest.mark.parametrize(("letter", "filed_again"), [("the same", 0), ("another of the same death", 1)])
async def test_what_was_sent_again_is_not_ended_by_an_old_letter(bench, letter, filed_again):
    """D02: a letter that was not deleted, or the message of which one had been written: both come again."""
    contexts = ContextService(bench.app, embeds=False, compact_above=0)
    context = await contexts.create(bench.owner, "a long night")
    await contexts.compact(bench.owner, context.id, keep_tokens=0)
    [message] = bench.waiting(QueueName.CONTEXTS)
    died = str(new_id())
    await bench.die(QueueName.CONTEXTS, message, died=died, letter="the same")
    await bench.redrive(QueueName.CONTEXTS)
    await bench.die(QueueName.CONTEXTS, message, died=died, letter=letter)
    assert (await contexts.get(bench.owner, context.id)).compaction_id == message.id
    assert bench.letters() == filed_again


class _Tool:
    """A tool, and what it answers."""

    data: ClassVar[dict[str, Any]] = {"read": "a file"}
    blocks = ()

    async def call(self, *_: object, **__: object) -> "_Tool":
        return self


@dataclass
class Tasks:
    """Tasks of a rule's run, and what becomes of them."""

    bench: Bench
    rule_id: UUID = field(default_factory=new_id)

    async def new(self) -> tuple[UUID, TaskReady]:
        """A task, and the message that it waits for."""
        task_id, run_id = new_id(), new_id()
        task = NewTask(
            id=task_id,
            owner_id=self.bench.owner.id,
            tool="fs_file_get",
            arguments={},
            origin=TaskOrigin(run_id=run_id, rules=(self.rule_id,)),
            expires_at=datetime.now(UTC) + timedelta(minutes=1),
        )
        run = NewRun(run_id, self.rule_id, 1, new_id(), RunOutcome.STARTED, task_id=task_id)
        async with self.bench.worker.transaction(TENANT) as tx:
            await tx.rule_runs.add([run])
            await start_tasks(tx, [task], [None])
        [message] = self.bench.waiting(QueueName.TASKS_NORMAL)
        assert isinstance(message, TaskReady)
        return task_id, message

    async def found(self, task_id: UUID) -> Task:
        async with self.bench.worker.transaction(TENANT) as tx:
            task = await tx.tasks.find(task_id)
        assert task is not None
        return task

    async def run_of(self, task_id: UUID) -> RunOutcome:
        async with self.bench.worker.transaction(TENANT) as tx:
            runs = await tx.rule_runs.page(self.rule_id, None, NEWEST, 10)
        [outcome] = [run.outcome for run in runs if run.task_id == task_id]
        return outcome

    async def claim(self, task_id: UUID, message: TaskReady, lease: timedelta = timedelta(minutes=1)) -> Task:
        async with self.bench.worker.transaction(TENANT) as tx:
            claimed = await tx.tasks.claim(task_id, datetime.now(UTC) + lease, message.id)
        assert claimed is not None
        return claimed

    async def end(self, task_id: UUID, held: Task) -> Task | None:
        """Let whoever made this attempt write that it failed."""
        async with self.bench.worker.transaction(TENANT) as tx:
            result = TaskResult(code="internal", error="no")
            return await tx.tasks.end(task_id, held.attempt, TaskStatus.FAILED, result)

    async def enqueue_abandoned(self) -> TaskReady:
        async with self.bench.worker.transaction(TENANT) as tx:
            assert await enqueue_abandoned(tx, timedelta(0), 10) == 1
        [message] = self.bench.waiting(QueueName.TASKS_NORMAL)
        assert isinstance(message, TaskReady)
        return message


@pytest.fixture
def tasks(bench) -> Tasks:
    return Tasks(bench)


async def test_a_task_whose_message_died_has_failed_and_runs_again_with_its_letter(bench, tasks):
    """D12, I6"""
    task_id, message = await tasks.new()
    for _ in range(MAX_ATTEMPTS):  # its workers died, one after the other
        late = await tasks.claim(task_id, message, -timedelta(seconds=1))
    await bench.die(QueueName.TASKS_NORMAL, message)
    failed = await tasks.found(task_id)
    assert (failed.status, await tasks.run_of(task_id)) == (TaskStatus.FAILED, RunOutcome.FAILED)
    assert failed.result is not None
    assert failed.result.error == f"its message died: {REASON}"

    await bench.redrive(QueueName.TASKS_NORMAL)
    revived = await tasks.found(task_id)
    assert (revived.status, revived.result) == (TaskStatus.WORKING, None)
    assert revived.expires_at > failed.expires_at, "long enough to be run, and to be asked for"
    assert await tasks.run_of(task_id) is RunOutcome.STARTED
    assert bench.waiting(QueueName.TASKS_NORMAL) == [message]
    assert not await tasks.end(task_id, late), "its worker woke too late, before the next one came"
    runner = TaskRunner(bench.worker, cast("ToolService", _Tool()))
    assert await runner.run(TENANT, task_id, message.id)
    ended = await tasks.found(task_id)
    assert (ended.status, ended.attempt) == (TaskStatus.COMPLETED, late.attempt + 2)
    assert await tasks.run_of(task_id) is RunOutcome.DONE


async def test_a_task_that_a_worker_is_at_outlives_its_message(bench, tasks):
    task_id, message = await tasks.new()
    await tasks.claim(task_id, message)
    await bench.die(QueueName.TASKS_NORMAL, message)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING


async def test_a_task_ends_with_the_message_that_it_waits_for_and_no_other(bench, tasks):
    """D07: it was given a newer message, because its worker had been gone; then the older one came back and was tried first."""
    task_id, old = await tasks.new()
    await tasks.claim(task_id, old, -timedelta(seconds=1))
    newer = await tasks.enqueue_abandoned()
    await bench.die(QueueName.TASKS_NORMAL, old)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING

    await tasks.claim(task_id, old, -timedelta(seconds=1))
    await bench.die(QueueName.TASKS_NORMAL, newer)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING
    await bench.die(QueueName.TASKS_NORMAL, old)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED


async def test_a_task_outlives_the_older_message_that_it_was_tried_by_last(bench, tasks):
    """D07: the newer one is still to come, unless it came while a worker was at the task, and so to nothing."""
    task_id, old = await tasks.new()
    await tasks.claim(task_id, old, -timedelta(seconds=1))
    newer = await tasks.enqueue_abandoned()
    await tasks.claim(task_id, old, -timedelta(seconds=1))
    await bench.die(QueueName.TASKS_NORMAL, old)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING
    await bench.die(QueueName.TASKS_NORMAL, newer)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED

    task_id, old = await tasks.new()
    await tasks.claim(task_id, old, -timedelta(seconds=1))
    newer = await tasks.enqueue_abandoned()
    held = await tasks.claim(task_id, old)
    assert not await TaskRunner(bench.worker, cast("ToolService", _Tool())).run(TENANT, task_id, newer.id)
    async with bench.worker.transaction(TENANT) as tx:
        await tx.tasks.release(task_id, held.attempt)
    await bench.die(QueueName.TASKS_NORMAL, old)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED


async def test_a_task_that_an_older_version_sent_another_message_for_waits_for_both(bench, tasks):
    """D07: as it writes while the new one is rolled out."""
    task_id, first = await tasks.new()
    await tasks.claim(task_id, first, -timedelta(seconds=1))
    second = first.model_copy(update={"id": new_id()})
    bench.as_an_older_version("UPDATE tasks SET message_id = %s WHERE id = %s", second.id, task_id)
    await bench.die(QueueName.TASKS_NORMAL, first)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING
    await bench.die(QueueName.TASKS_NORMAL, second)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED


@pytest.mark.parametrize("taken", [True, False])
async def test_a_task_that_an_older_version_made_waits_for_its_message_and_the_newer_one(bench, tasks, taken):
    task_id, first = await tasks.new()
    bench.as_an_older_version(
        "UPDATE tasks SET message_ids = NULL, lease_until = now() - interval '1 s' WHERE id = %s", task_id
    )
    second = await tasks.enqueue_abandoned()
    if taken:
        bench.as_an_older_version(
            "UPDATE tasks SET message_ids = NULL, message_id = %s WHERE id = %s", first.id, task_id
        )
        await tasks.claim(task_id, second, -timedelta(seconds=1))
    await bench.die(QueueName.TASKS_NORMAL, second)
    assert (await tasks.found(task_id)).status is TaskStatus.WORKING
    await bench.die(QueueName.TASKS_NORMAL, first)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED


@pytest.mark.parametrize("known", [True, False])
async def test_a_task_whose_question_an_older_version_asked_waits_for_the_answers_message_alone(
    bench, tasks, known
):
    task_id, first = await tasks.new()
    await tasks.claim(task_id, first)
    if not known:
        bench.as_an_older_version("UPDATE tasks SET message_ids = NULL WHERE id = %s", task_id)
    bench.as_an_older_version(
        "UPDATE tasks SET status = 'input_required', lease_until = NULL WHERE id = %s", task_id
    )
    async with bench.worker.transaction(TENANT) as tx:
        assert await tx.tasks.answer(await tasks.found(task_id), {})
        await tx.tasks.wait_for(task_id, second := new_id())
    await bench.die(QueueName.TASKS_NORMAL, first.model_copy(update={"id": second}))
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED


async def test_a_task_that_ended_otherwise_stays_so_when_a_letter_is_sent_again(bench, tasks):
    task_id, message = await tasks.new()
    held = await tasks.claim(task_id, message)
    await bench.die(QueueName.TASKS_NORMAL, message)
    assert await tasks.end(task_id, held)
    await bench.redrive(QueueName.TASKS_NORMAL)
    assert (await tasks.found(task_id)).status is TaskStatus.FAILED

"""Calls that become tasks: accepted, looked up, answered and cancelled by whoever asked for them. The worker runs them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import orjson
from pydantic import JsonValue

from devops_mcp.adapters.base import TaskSupport
from devops_mcp.cache.changes import Changes
from devops_mcp.events.messages import MESSAGE, TaskReady
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.conversation import Answer, Question
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import RunOutcome
from devops_mcp.models.tasks import NewTask, Task, TaskPriority, TaskStatus
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tools import ToolService
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.transaction import Transaction

KEPT_FOR = timedelta(hours=24)
MAX_ARGUMENTS = 200_000
MAX_REASON = 500
QUEUES: Mapping[TaskPriority, QueueName] = {
    TaskPriority.HIGH: QueueName.TASKS_HIGH,
    TaskPriority.NORMAL: QueueName.TASKS_NORMAL,
    TaskPriority.LOW: QueueName.TASKS_LOW,
}
_KINDS: tuple[Literal["form", "sampling", "roots"], ...] = ("form", "sampling", "roots")


class TaskService:
    """A task is its owner's; another's is answered like one that does not exist."""

    def __init__(
        self,
        database: Database,
        tools: ToolService,
        changes: Changes | None = None,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._tools = tools
        self._changes = changes
        self._now = now

    async def submit(
        self,
        requester: Requester,
        name: str,
        arguments: Mapping[str, JsonValue],
        *,
        priority: TaskPriority = TaskPriority.NORMAL,
        listed: bool = True,
        asks_later: bool = True,
    ) -> Task:
        """Accept a call to be run by the worker; once this returns, the task survives a crash of anything.

        What it loses is confirmed, and what it asks first is asked, before; with `asks_later` False it can ask nothing while it runs. The
        same idempotency key and arguments give the same task.
        Raises as `ToolService.call` does.
        """
        entry = self._tools.get(requester, name, listed=listed)
        if entry.tool.relays:
            raise InvalidInput(f"{name} hands calls on: name the tool itself")
        answers = await self._tools.prepare(requester, entry, arguments)
        answerable = tuple(kind for kind in _KINDS if asks_later and requester.conversation.can_answer(kind))
        task = self._new(requester, entry, arguments, priority, answers).model_copy(
            update={"answerable": answerable}
        )
        async with self._database.transaction(requester.principal.tenant_id) as tx:
            if (known := await self._known(tx, requester, entry, task)) is not None:
                return known
            return await _added(tx, task)

    async def get(self, principal: Principal, task_id: UUID) -> Task:
        """Raises `NotFound`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            return _owned(await tx.tasks.find(task_id), principal, task_id)

    async def page(
        self, principal: Principal, *, status: TaskStatus | None, cursor: UUID | None, limit: int
    ) -> Page[Task]:
        """The principal's tasks, newest first."""
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.tasks.page(principal.id, status, cursor, limit + 1)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return Page(items=tuple(found[:limit]), next_cursor=more)

    async def answer(self, principal: Principal, task_id: UUID, answers: Mapping[str, Answer]) -> Task:
        """Answer questions of a task that waits for them; others are passed over. With the last answer it goes on. Raises `NotFound`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            task = _owned(await tx.tasks.lock(task_id), principal, task_id)
            fitting = {
                name: answer for name, answer in answers.items() if _fits(task.questions, name, answer)
            }
            if not fitting:
                return task
            answered = await tx.tasks.answer(task, fitting)
            assert answered is not None, "its row is locked, and it had questions"
            if answered.status is TaskStatus.WORKING:
                await _enqueue(tx, answered)
        await tell_of_task(self._changes, answered)
        return answered

    async def cancel(self, principal: Principal, task_id: UUID) -> Task:
        """End a task; one that runs is stopped within seconds, and writes nothing more. One that has ended stays as it is."""
        async with self._database.transaction(principal.tenant_id) as tx:
            task = _owned(await tx.tasks.lock(task_id), principal, task_id)
            cancelled = await tx.tasks.cancel(task_id)
            if cancelled is not None:
                await settle_origin(tx, cancelled)
        await tell_of_task(self._changes, cancelled)
        return cancelled or task

    def _new(
        self,
        requester: Requester,
        entry: CatalogueEntry,
        arguments: Mapping[str, JsonValue],
        priority: TaskPriority,
        answers: Mapping[str, Answer],
    ) -> NewTask:
        if len(orjson.dumps(dict(arguments))) > MAX_ARGUMENTS:
            raise InvalidInput(f"the arguments are larger than the {MAX_ARGUMENTS} bytes that a task keeps")
        return NewTask(
            id=new_id(),
            owner_id=requester.principal.id,
            tool=entry.tool.name,
            arguments=dict(arguments),
            priority=priority,
            answers=dict(answers),
            context_id=requester.context_id,
            expires_at=self._now() + KEPT_FOR,
        )

    async def _known(
        self, tx: Transaction, requester: Requester, entry: CatalogueEntry, task: NewTask
    ) -> Task | None:
        """The task that this key was given for before."""
        if requester.idempotency_key is None:
            return None
        key = CallKey(requester.principal.id, f"task:{entry.tool.name}", requester.idempotency_key)
        digest = hashlib.sha256(orjson.dumps(task.arguments, option=orjson.OPT_SORT_KEYS)).digest()
        marked = await tx.idempotent_calls.begin(key, digest, self._now(), self._now() + KEPT_FOR)
        if marked is None:
            await tx.idempotent_calls.finish(key, {"task_id": str(task.id)})
            return None
        if marked.digest != digest:
            raise Conflict(f"idempotency key {key.key!r} was used with other arguments; use a new key")
        assert marked.answer is not None, "key and task are written in one transaction"
        return await tx.tasks.find(UUID(str(marked.answer["task_id"])))


async def start_tasks(tx: Transaction, tasks: Sequence[NewTask], traces: Sequence[str | None]) -> None:
    """Start calls that nobody asked for himself, with the traceparents of what led to them."""
    if not tasks:
        return
    await tx.tasks.add_all(tasks)
    messages = [TaskReady(id=new_id(), tenant_id=tx.tenant_id, task_id=task.id) for task in tasks]
    await tx.outbox.post(
        [
            Posting(message.id, QUEUES[task.priority], MESSAGE.dump_json(message).decode(), trace)
            for task, message, trace in zip(tasks, messages, traces, strict=True)
        ]
    )


async def settle_origin(tx: Transaction, task: Task) -> None:
    """Write down, where a rule started the task, how that ended."""
    if task.origin is None:
        return
    if task.status is TaskStatus.CANCELLED:
        await tx.rule_runs.end(task.origin.run_id, RunOutcome.CANCELLED, None)
    elif task.result is not None and task.result.code is not None:
        reason = f"{task.result.code}: {task.result.error}"[:MAX_REASON]
        await tx.rule_runs.end(task.origin.run_id, RunOutcome.FAILED, reason)
    else:
        await tx.rule_runs.end(task.origin.run_id, RunOutcome.DONE, None)


def becomes_task(entry: CatalogueEntry, *, caller_can_follow: bool) -> bool:
    """Whether a call of this tool goes on as a task, for a caller that can follow one or cannot."""
    return caller_can_follow and entry.tool.task is not TaskSupport.NEVER


async def enqueue_abandoned(tx: Transaction, grace: timedelta, limit: int) -> int:
    """Put tasks whose worker has been gone for `grace` back into their queues; how many there were."""
    abandoned = await tx.tasks.abandoned(grace, limit)
    for task in abandoned:
        await _enqueue(tx, task)
    return len(abandoned)


def task_uri(task_id: UUID) -> str:
    """The address of a task."""
    return f"devops://tasks/{task_id}"


async def tell_of_task(changes: Changes | None, task: Task | None) -> None:
    """Tell those who watch the task that it has changed."""
    if changes is not None and task is not None:
        await changes.of_resource(task.tenant_id, task_uri(task.id))


async def _added(tx: Transaction, task: NewTask) -> Task:
    added = await tx.tasks.add(task)
    await _enqueue(tx, added)
    return added


async def _enqueue(tx: Transaction, task: Task) -> None:
    message = TaskReady(id=new_id(), tenant_id=task.tenant_id, task_id=task.id)
    await tx.outbox.add(QUEUES[task.priority], message, trace=current_traceparent())


def _owned(task: Task | None, principal: Principal, task_id: UUID) -> Task:
    if task is None or task.owner_id != principal.id:
        raise NotFound(f"there is no task {task_id}")
    return task


def _fits(questions: Mapping[str, Question], name: str, answer: Answer) -> bool:
    question = questions.get(name)
    return question is not None and question.kind == answer.kind

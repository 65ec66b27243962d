"""Calls that become tasks: accepted, looked up, answered and cancelled by whoever asked for them. The worker runs them."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import orjson
from pydantic import JsonValue

from devops_mcp.adapters.base import TaskSupport
from devops_mcp.cache.changes import Changes
from devops_mcp.events.messages import MESSAGE, TaskReady
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.conversation import Answer, Question
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import NEWEST, Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.rules import RunOutcome
from devops_mcp.models.tasks import (
    NewTask,
    QuestionKind,
    Task,
    TaskPriority,
    TaskResult,
    TaskStatus,
    TasksWanted,
)
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.masking import masked
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tools import ToolService
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.transaction import Transaction

READ = "tasks:read"
PAYLOAD = "tasks:payload"
CANCEL = "tasks:cancel"
ANY = TasksWanted()
HIDDEN: Mapping[str, object] = {"arguments": {}, "questions": {}, "answers": {}, "message": None}
"""What is not shown of another's task."""
KEPT_FOR = timedelta(hours=24)
MAX_ARGUMENTS = 200_000
MAX_REASON = 500
QUEUES: Mapping[TaskPriority, QueueName] = {
    TaskPriority.HIGH: QueueName.TASKS_HIGH,
    TaskPriority.NORMAL: QueueName.TASKS_NORMAL,
    TaskPriority.LOW: QueueName.TASKS_LOW,
}
_KINDS: tuple[QuestionKind, ...] = ("form", "sampling", "roots")


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
        answerable: Sequence[QuestionKind] = (),
    ) -> Task:
        """Accept a call to be run by the worker; once this returns, the task survives a crash of anything.

        What it loses is confirmed, and what it asks first is asked, before; with `asks_later` False it can ask nothing while it runs, and
        `answerable` are kinds of questions that its caller answers then, though it cannot be asked now. The same idempotency key and
        arguments give the same task.
        Raises as `ToolService.call` does.
        """
        entry = self._tools.get(requester, name, listed=listed)
        if entry.tool.relays:
            raise InvalidInput(f"{name} hands calls on: name the tool itself")
        answers = await self._tools.prepare(requester, entry, arguments)
        can = requester.conversation.can_answer
        kinds = tuple(kind for kind in _KINDS if asks_later and (can(kind) or kind in answerable))
        task = self._new(requester, entry, arguments, priority, answers).model_copy(
            update={"answerable": kinds}
        )
        async with self._database.transaction(requester.principal.tenant_id) as tx:
            if (known := await self._known(tx, requester, entry, task)) is not None:
                return known
            about: JsonObject = {"tool": task.tool, "arguments": masked(task.arguments)}
            await tx.audit.append([deed(requester.principal, "tasks.submit", _target(task.id), about)])
            return await _added(tx, task)

    async def get(self, principal: Principal, task_id: UUID) -> Task:
        """One's own. Raises `NotFound`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            return _owned(await tx.tasks.find(task_id), principal, task_id)

    async def see(self, principal: Principal, task_id: UUID) -> Task:
        """One's own, or with `tasks:read` anybody's; without `tasks:payload` nothing of what another's is about. Raises `NotFound`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.tasks.find(task_id)
        if found is None or not (found.owner_id == principal.id or principal.may(READ)):
            raise _absent(task_id)
        return _as_seen(principal, found)

    async def page(
        self,
        principal: Principal,
        wanted: TasksWanted = ANY,
        *,
        limit: int,
        order: Order = NEWEST,
        of_all: bool = False,
    ) -> Page[Task]:
        """The principal's tasks; with `of_all` everybody's, which raises `Forbidden` for who lacks `tasks:read`."""
        if of_all:
            require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.tasks.page(None if of_all else principal.id, wanted, order, limit + 1)
        return order.page([_as_seen(principal, task) for task in found], limit)

    async def answer(self, principal: Principal, task_id: UUID, answers: Mapping[str, Answer]) -> Task:
        """Answer questions of a task that waits for them; others are passed over. With the last answer it goes on. Raises `NotFound`."""
        async with self._database.transaction(principal.tenant_id) as tx:
            task = _owned(await tx.tasks.lock(task_id), principal, task_id)
            fitting = {
                name: answer for name, answer in answers.items() if _fits(task.questions, name, answer)
            }
            if not fitting:
                return task
            about: JsonObject = {"tool": task.tool, "questions": [*fitting]}
            await tx.audit.append([deed(principal, "tasks.answer", _target(task_id), about)])
            answered = await tx.tasks.answer(task, fitting)
            assert answered is not None, "its row is locked, and it had questions"
            if answered.status is TaskStatus.WORKING:
                await _enqueue_again(tx, answered)
        await tell_of_task(self._changes, answered)
        return answered

    async def cancel(self, principal: Principal, task_id: UUID) -> Task:
        """End a task; one that runs is stopped within seconds, and writes nothing more. One that has ended stays as it is.

        One's own, or with `tasks:cancel` anybody's that one may see. Raises `NotFound` or `Forbidden`.
        """
        async with self._database.transaction(principal.tenant_id) as tx:
            task = await tx.tasks.lock(task_id)
            if task is None or task.owner_id != principal.id:
                task = _of_another(principal, task, task_id)
            cancelled = await tx.tasks.cancel(task_id)
            if cancelled is not None:
                await settle_origin(tx, cancelled)
                await tx.audit.append(
                    [deed(principal, "tasks.cancel", _target(task_id), {"tool": task.tool})]
                )
        await tell_of_task(self._changes, cancelled)
        return _as_seen(principal, cancelled or task)

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
            limits=requester.principal.limits,
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
    messages = [TaskReady(id=new_id(), tenant_id=tx.tenant_id, task_id=task.id) for task in tasks]
    await tx.tasks.add_all(tasks, [message.id for message in messages])
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
        await _enqueue_again(tx, task)
    return len(abandoned)


def task_uri(task_id: UUID) -> str:
    """The address of a task."""
    return f"devops://tasks/{task_id}"


async def tell_of_task(changes: Changes | None, task: Task | None) -> None:
    """Tell those who watch the task that it has changed."""
    if changes is not None and task is not None:
        await changes.of_resource(task.tenant_id, task_uri(task.id))


async def _added(tx: Transaction, task: NewTask) -> Task:
    message = TaskReady(id=new_id(), tenant_id=tx.tenant_id, task_id=task.id)
    added = await tx.tasks.add(task, message.id)
    await tx.outbox.add(QUEUES[task.priority], message, trace=current_traceparent())
    return added


async def _enqueue_again(tx: Transaction, task: Task) -> None:
    message = TaskReady(id=new_id(), tenant_id=task.tenant_id, task_id=task.id)
    await tx.tasks.wait_for(task.id, message.id)
    await tx.outbox.add(QUEUES[task.priority], message, trace=current_traceparent())


def _as_seen(principal: Principal, task: Task) -> Task:
    """What another's task is about is for who may see payloads."""
    if task.owner_id == principal.id or principal.may(PAYLOAD):
        return task
    return task.model_copy(
        update={**HIDDEN, "result": None if task.result is None else _outcome(task.result)}
    )


def _outcome(result: TaskResult) -> TaskResult:
    """Only whether it is an error, and which."""
    return TaskResult(code=result.code, error=None if result.code is None else "hidden")


def _of_another(principal: Principal, task: Task | None, task_id: UUID) -> Task:
    if task is None or not principal.may(READ):
        raise _absent(task_id)
    require(principal, CANCEL)
    return task


def _owned(task: Task | None, principal: Principal, task_id: UUID) -> Task:
    if task is None or task.owner_id != principal.id:
        raise _absent(task_id)
    return task


def _target(task_id: UUID) -> str:
    return f"task:{task_id}"


def _absent(task_id: UUID) -> NotFound:
    return NotFound(f"there is no task {task_id}")


def _fits(questions: Mapping[str, Question], name: str, answer: Answer) -> bool:
    question = questions.get(name)
    return question is not None and question.kind == answer.kind

"""Tasks: calls of tools that go on in the worker, however long they take."""

from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.conversation import Answer, Question
from devops_mcp.models.pages import Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.tasks import QuestionKind, Task, TaskPriority, TaskStatus, TasksWanted
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tasks import PAYLOAD
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams
from rest_api.listing import Listing

TAG = "tasks"


class OneTask(Model):
    task_id: UUID


TaskSort: TypeAlias = Literal["-created_at", "created_at", "-updated_at", "updated_at", "-tool", "tool"]


class TaskPage(TasksWanted, Listing[TaskSort]):
    """A page of tasks: one's own, or with `of_all` everybody's. `cursor` is `next_cursor` of the page before."""

    of_all: bool = False
    sort: TaskSort = "-created_at"


class NewTaskOfTool(Body):
    """A call of a tool. `can_answer` are the kinds of questions that the caller answers while the task waits.

    The same `idempotency_key` with the same arguments gives the same task for a day. A call that loses something needs the `plan` of a
    `dry_run` among its arguments.
    """

    tool: str = Field(min_length=1, max_length=64)
    arguments: JsonObject = Field(default_factory=dict)
    priority: TaskPriority = TaskPriority.NORMAL
    can_answer: tuple[QuestionKind, ...] = Field(default=(), max_length=3)
    context_id: UUID | None = None
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200)


class TaskAnswers(Body):
    """Answers by the names of the questions; what is no answer to a question of the task is passed over."""

    answers: dict[str, Answer] = Field(min_length=1, max_length=50)


class TaskSummary(Model):
    """A task in short: `progress` of `total`, in whatever unit the tool counts. It is kept until `expires_at`.

    `completed` is a tool that ran, even to an error of its own (`error_code`); `failed` one that could not be run to its end.
    """

    id: UUID
    owner_id: UUID
    tool: str
    status: TaskStatus
    priority: TaskPriority
    message: str | None
    progress: float | None
    total: float | None
    error_code: str | None
    context_id: UUID | None
    attempt: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


class TaskDetail(TaskSummary):
    """A task, what it was asked, the questions that wait for answers, and its result or error once it has ended.

    Of another's task `arguments`, `questions`, `result` and `error` are null for who may not see payloads.
    """

    arguments: JsonObject | None
    questions: dict[str, Question] | None
    result: JsonObject | None
    error: str | None


async def submit_task(call: Call[NoParams, NewTaskOfTool]) -> TaskDetail:
    """Submit a call of a tool as a task; once this is answered, it survives a crash of anything."""
    body = call.body
    requester = Requester(call.principal, idempotency_key=body.idempotency_key, context_id=body.context_id)
    task = await call.platform.tasks.submit(
        requester,
        body.tool,
        body.arguments,
        priority=body.priority,
        listed=False,
        answerable=body.can_answer,
    )
    return _detail(call.principal, task)


async def list_tasks(call: Call[TaskPage, NoBody]) -> Page[TaskSummary]:
    """List tasks, newest first unless `sort` says otherwise; they are kept for a day."""
    params = call.params
    wanted = params.part(TasksWanted)
    page = await call.platform.tasks.page(
        call.principal,
        wanted,
        limit=params.limit,
        order=params.order,
        of_all=params.of_all,
    )
    return page.shown(_summary)


async def get_task(call: Call[OneTask, NoBody]) -> TaskDetail:
    """Get a task, with its result once it has ended."""
    return _detail(call.principal, await call.platform.tasks.see(call.principal, call.params.task_id))


async def cancel_task(call: Call[OneTask, NoBody]) -> TaskDetail:
    """Cancel a task; what its tool has done by then stays done, and one that has ended stays as it is."""
    return _detail(call.principal, await call.platform.tasks.cancel(call.principal, call.params.task_id))


async def answer_task(call: Call[OneTask, TaskAnswers]) -> TaskDetail:
    """Answer questions of one's own task that waits for them; with the last answer it goes on."""
    answered = await call.platform.tasks.answer(call.principal, call.params.task_id, call.body.answers)
    return _detail(call.principal, answered)


def _summary(task: Task) -> TaskSummary:
    return TaskSummary(**_in_short(task))


def _detail(principal: Principal, task: Task) -> TaskDetail:
    hidden = task.owner_id != principal.id and not principal.may(PAYLOAD)
    result = task.result
    return TaskDetail(
        **_in_short(task),
        arguments=None if hidden else task.arguments,
        questions=None if hidden else task.questions,
        result=None if hidden or result is None or result.code is not None else result.data,
        error=None if hidden or result is None else result.error,
    )


def _in_short(task: Task) -> dict[str, Any]:
    shared = set(TaskSummary.model_fields) - {"error_code"}
    return {**task.model_dump(include=shared), "error_code": task.result.code if task.result else None}


_ALL = "/api/v1/tasks"
_ONE = f"{_ALL}/{{task_id}}"
TASKS: tuple[AnyEndpoint, ...] = (
    Endpoint(
        "POST",
        _ALL,
        TAG,
        submit_task,
        TaskDetail,
        body=NewTaskOfTool,
        status=202,
        errors=(404, 409),
        codes=("personal_credential_missing",),
    ),
    Endpoint("GET", _ALL, TAG, list_tasks, Page[TaskSummary], params=TaskPage),
    Endpoint("GET", _ONE, TAG, get_task, TaskDetail, params=OneTask, errors=(404,)),
    Endpoint("POST", f"{_ONE}/cancel", TAG, cancel_task, TaskDetail, params=OneTask, errors=(404,)),
    Endpoint(
        "POST",
        f"{_ONE}/answers",
        TAG,
        answer_task,
        TaskDetail,
        params=OneTask,
        body=TaskAnswers,
        errors=(404,),
    ),
)

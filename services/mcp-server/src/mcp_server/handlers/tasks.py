"""Long calls: the tasks extension of 2026-07-28 (SEP-2663), and the experimental tasks of 2025-11-25 for clients of that revision.

Both show the same rows; the tasks are run by the worker and outlive connection, server and worker.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, ValidationError

from devops_mcp.models.base import JsonObject
from devops_mcp.models.conversation import Answer
from devops_mcp.models.errors import DeadlineExceeded, NotFound, PlatformError
from devops_mcp.models.pages import Order
from devops_mcp.models.principals import Principal
from devops_mcp.models.tasks import Task, TaskStatus
from devops_mcp.operations.change_feed import ChangeFeed
from devops_mcp.operations.tasks import KEPT_FOR, TaskService, task_uri
from devops_mcp.operations.tool_outcomes import ToolOutcome
from mcp_server.caller import principal_of
from mcp_server.conversation import MISSING_CAPABILITY, answer_to, input_request
from mcp_server.handlers.contents import result_of

EXTENSION = "io.modelcontextprotocol/tasks"
HANDSHAKE_TASKS = "2025-11-25"
HEADER_MISMATCH = -32020
POLL_MS = 500
RESULT_WITHIN_S = 30.0
"""How long `tasks/result` of 2025-11-25 waits; the client asks again."""
LOOK_EVERY_S = 5.0
"""How often it looks where it hears of no change: what tells of one can be lost."""
TASK_IDS = "taskIds"
"""What the extension adds to the filter of `subscriptions/listen`: the tasks whose statuses are to be sent."""
MAX_FOLLOWED = 100


class TaskParams(types.RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId")


class UpdateParams(TaskParams):
    """Answers to its questions, by name."""

    input_responses: dict[str, Any] = Field(default_factory=dict, alias="inputResponses")


class TaskNotification(types.Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """How a task stands (2026-07-28)."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


class TaskHandlers:
    """Follows, answers and ends the caller's tasks."""

    def __init__(self, tasks: TaskService, changes: ChangeFeed) -> None:
        self._tasks = tasks
        self._changes = changes

    async def get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JsonObject:
        """How the task stands; with its result or error once it has ended, and its questions while it waits for answers."""
        principal = await _follower(ctx, params)
        task = await self._find(principal, params.task_id)
        return detailed(task) if _modern(ctx) else _handshake_task(task)

    async def update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> JsonObject:
        """Take answers; what is no answer to a question of the task is passed over."""
        principal = await _follower(ctx, params)
        task = await self._find(principal, params.task_id)
        answers = _answers(task, params.input_responses)
        await self._tasks.answer(principal, task.id, answers)
        return {"resultType": "complete"}

    async def cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JsonObject:
        """End the task; one that has ended stays as it is."""
        principal = await _follower(ctx, params)
        before = await self._find(principal, params.task_id)
        if _modern(ctx):
            await self._tasks.cancel(principal, before.id)
            return {"resultType": "complete"}
        if before.ended:
            raise MCPError(types.INVALID_PARAMS, f"the task is {before.status} already")
        return _handshake_task(await self._tasks.cancel(principal, before.id))

    async def result(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> JsonObject:
        """2025-11-25: what the call would have answered, once there is an answer."""
        _require_handshake(ctx)
        principal = await _follower(ctx, params)
        task = await self._ended(principal, await self._find(principal, params.task_id))
        if task.status is TaskStatus.CANCELLED:
            raise MCPError(types.INVALID_PARAMS, "the task was cancelled")
        if task.status is TaskStatus.FAILED:
            raise MCPError(types.INTERNAL_ERROR, _error_of(task))
        related: JsonObject = {"io.modelcontextprotocol/related-task": {"taskId": str(task.id)}}
        return {**_result_of(task), "_meta": related}

    async def _ended(self, principal: Principal, task: Task) -> Task:
        """The task once it has ended; the worker that ends it is another process, and tells."""
        async with self._changes.watch(principal.tenant_id, (), {task_uri(task.id)}) as watch:
            try:
                async with asyncio.timeout(RESULT_WITHIN_S):
                    while not (task := await self._tasks.get(principal, task.id)).ended:
                        await watch.some(LOOK_EVERY_S)
            except TimeoutError:
                judged = {"code": DeadlineExceeded.code, "retryable": True}
                raise MCPError(
                    types.INTERNAL_ERROR, f"the task is {task.status} still; ask again", judged
                ) from None
        return task

    async def page(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams
    ) -> JsonObject:
        """2025-11-25: the caller's tasks, newest first."""
        _require_handshake(ctx)
        principal = await principal_of(ctx)
        cursor = _uuid(params.cursor) if params.cursor else None
        if params.cursor and cursor is None:
            raise MCPError(types.INVALID_PARAMS, "not a cursor of this list; begin again without one")
        found = await self._tasks.page(principal, limit=50, order=Order(after_id=cursor))
        page: JsonObject = {"tasks": [_handshake_task(task) for task in found.items]}
        return page | ({"nextCursor": found.next_cursor} if found.next_cursor else {})

    async def followed(
        self, ctx: ServerRequestContext[Any, Any], wanted: types.SubscriptionFilter
    ) -> dict[str, str]:
        """The caller's tasks that a filter names, by address; raises for one that there is not."""
        named = (wanted.model_extra or {}).get(TASK_IDS)
        if not named:
            return {}
        if not isinstance(named, list) or len(named) > MAX_FOLLOWED:
            raise MCPError(types.INVALID_PARAMS, f"{TASK_IDS} must be a list of at most {MAX_FOLLOWED} ids")
        if not can_follow(ctx):
            raise cannot_follow()
        principal = await principal_of(ctx)
        tasks = [await self._find(principal, str(task_id)) for task_id in named]
        return {task_uri(task.id): str(task.id) for task in tasks}

    async def notification(
        self, ctx: ServerRequestContext[Any, Any], task_id: str, meta: dict[str, Any]
    ) -> Any:
        """`notifications/tasks`: what `tasks/get` would answer now; None when the task is gone."""
        task = await self._still_there(ctx, task_id)
        return None if task is None else TaskNotification(params={**detailed(task), "_meta": meta})

    async def handshake_status(self, ctx: ServerRequestContext[Any, Any], task_id: str) -> JsonObject | None:
        """2025-11-25: how the task stands; None when it is gone."""
        task = await self._still_there(ctx, task_id)
        return None if task is None else _handshake_task(task)

    async def _still_there(self, ctx: ServerRequestContext[Any, Any], task_id: str) -> Task | None:
        try:
            return await self._find(await principal_of(ctx), task_id)
        except (MCPError, PlatformError):
            return None

    async def _find(self, principal: Principal, task_id: str) -> Task:
        known = _uuid(task_id)
        if known is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no task {task_id:.100}")
        try:
            return await self._tasks.get(principal, known)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None


def can_follow(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client declared, for this request, that it can follow a task (2026-07-28)."""
    declared = ctx.session.client_capabilities
    return _modern(ctx) and bool(declared and declared.extensions and EXTENSION in declared.extensions)


def required_but_missing() -> MCPError:
    """What a client is told that cannot follow a task, of a tool that is nothing else."""
    return MCPError(
        MISSING_CAPABILITY,
        "this tool runs as a task only; declare the tasks extension, or start it with task_start",
        {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
    )


def cannot_follow() -> MCPError:
    """What a client is told that asks for a task without having said that it knows what that is."""
    return MCPError(
        MISSING_CAPABILITY,
        "declare the tasks extension to follow tasks",
        {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
    )


def created(task: Task) -> JsonObject:
    """The answer to a call that goes on as a task (2026-07-28)."""
    return {"resultType": "task", **_summary(task), "ttlMs": _lifetime_ms(), "pollIntervalMs": POLL_MS}


def created_in_handshake_era(task: Task) -> JsonObject:
    """The same for 2025-11-25."""
    return {"task": _handshake_task(task)}


def detailed(task: Task) -> JsonObject:
    """A task with what its status brings."""
    shown: JsonObject = {
        "resultType": "complete",
        **_summary(task),
        "ttlMs": _lifetime_ms(),
        "pollIntervalMs": POLL_MS,
    }
    if task.status is TaskStatus.INPUT_REQUIRED:
        shown["inputRequests"] = {
            name: input_request(question).model_dump(by_alias=True, mode="json", exclude_none=True)
            for name, question in task.questions.items()
        }
    if task.status is TaskStatus.COMPLETED:
        shown["result"] = _result_of(task)
    if task.status is TaskStatus.FAILED:
        shown["error"] = {"code": types.INTERNAL_ERROR, "message": _error_of(task)}
    return shown


def _summary(task: Task) -> JsonObject:
    summary: JsonObject = {
        "taskId": str(task.id),
        "status": task.status.value,
        "createdAt": task.created_at.isoformat(),
        "lastUpdatedAt": task.updated_at.isoformat(),
    }
    if said := _said(task):
        summary["statusMessage"] = said
    return summary


def _handshake_task(task: Task) -> JsonObject:
    return {**_summary(task), "ttl": _lifetime_ms(), "pollInterval": POLL_MS}


def _said(task: Task) -> str | None:
    if task.progress is None:
        return task.message
    done = f"{task.progress:g} of {task.total:g}" if task.total else f"{task.progress:g}"
    return f"{done}: {task.message}" if task.message else done


def _lifetime_ms() -> int:
    return int(KEPT_FOR.total_seconds() * 1_000)


def _result_of(task: Task) -> JsonObject:
    assert task.result is not None
    result = task.result
    if result.code is not None:
        text = types.TextContent(type="text", text=f"{result.code}: {result.error}")
        called = types.CallToolResult(content=[text], is_error=True)
    else:
        called = result_of(ToolOutcome.of(result.data, result.blocks))
    dumped: JsonObject = called.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped


def _error_of(task: Task) -> str:
    return (task.result.error if task.result else None) or "the task failed"


async def _follower(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Principal:
    """The caller, who must have declared that it follows tasks, and whose header must name the task it asks for."""
    if _modern(ctx):
        if not can_follow(ctx):
            raise cannot_follow()
        _check_name_header(ctx, params)
    return await principal_of(ctx)


def _check_name_header(ctx: ServerRequestContext[Any, Any], params: TaskParams) -> None:
    if ctx.request is not None and ctx.request.scope["type"] == "http":
        named = ctx.request.headers.get("mcp-name")
        if named is None or named.strip() != params.task_id:
            raise MCPError(HEADER_MISMATCH, "the header Mcp-Name does not name the task of the body")


def _require_handshake(ctx: ServerRequestContext[Any, Any]) -> None:
    if ctx.protocol_version != HANDSHAKE_TASKS:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", data=ctx.method)


def _modern(ctx: ServerRequestContext[Any, Any]) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def _answers(task: Task, responses: Mapping[str, Any]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    for name, question in task.questions.items():
        try:
            answer = answer_to(question, responses.get(name))
        except ValidationError:
            continue
        if answer is not None:
            found[name] = answer
    return found


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

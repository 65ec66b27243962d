"""The suite's tools for long work: start any call as a task, follow it, end it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from devops_mcp.adapters.base import (
    Effect,
    Listing,
    ListParams,
    Params,
    Tool,
    ToolResult,
    WriteParams,
    WriteResult,
)
from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.pages import Order
from devops_mcp.models.tasks import Task, TaskPriority, TaskStatus, TasksWanted
from devops_mcp.operations.suite_tools import Desk, as_uuid


class TaskStartParams(WriteParams):
    name: str = Field(min_length=1, max_length=64, description="The tool to call.")
    arguments: JsonObject = Field(default_factory=dict, description="As its input_schema says.")
    priority: TaskPriority = Field(default=TaskPriority.NORMAL, description="Which queue.")


class OneTaskParams(Params):
    task_id: UUID


class TaskCancelParams(WriteParams):
    task_id: UUID


class TaskListParams(ListParams):
    status: TaskStatus | None = Field(default=None, description="Only these.")


class TaskView(Model):
    """A task in short; `progress` of `total`, in whatever unit the tool counts."""

    id: UUID
    tool: str
    status: TaskStatus
    message: str | None
    progress: float | None
    total: float | None
    created_at: datetime
    updated_at: datetime


class TaskDetail(ToolResult):
    """A task, and what its tool answered once it has ended; `error` where it answered that it could not."""

    task: TaskView
    result: JsonObject | None = None
    error: str | None = None


async def task_start(desk: Desk, params: TaskStartParams) -> WriteResult:
    """Call a tool in the background: for calls that take minutes. Returns a task_id; follow it with task_get."""
    if params.dry_run:
        entry = desk.toolbox.entry(params.name)
        return WriteResult(dry_run=True, done=f"would start {entry.tool.name} as a task")
    task = await desk.suite.tasks.submit(
        desk.toolbox.requester, params.name, params.arguments, priority=params.priority, listed=False
    )
    return WriteResult(done=f"started {task.tool}", data={"task_id": str(task.id)})


async def task_get(desk: Desk, params: OneTaskParams) -> TaskDetail:
    """Read how a task stands, and its result once it has ended."""
    task = await desk.suite.tasks.get(desk.principal, params.task_id)
    result = task.result
    return TaskDetail(
        task=view_of_task(task),
        result=result.data if result is not None and result.code is None else None,
        error=f"{result.code}: {result.error}" if result is not None and result.code is not None else None,
    )


async def task_list(desk: Desk, params: TaskListParams) -> Listing[TaskView]:
    """List your tasks, newest first."""
    page = await desk.suite.tasks.page(
        desk.principal,
        TasksWanted(status=params.status),
        limit=params.limit,
        order=Order(after_id=as_uuid(params.cursor)),
    )
    return Listing[TaskView](items=[view_of_task(t) for t in page.items], next_cursor=page.next_cursor)


async def task_cancel(desk: Desk, params: TaskCancelParams) -> WriteResult:
    """Cancel a task. What its tool has done by then stays done."""
    if params.dry_run:
        task = await desk.suite.tasks.get(desk.principal, params.task_id)
        return WriteResult(dry_run=True, done=f"would cancel {task.tool}, which is {task.status}")
    task = await desk.suite.tasks.cancel(desk.principal, params.task_id)
    return WriteResult(done=f"{task.tool} is {task.status}", data={"status": task.status.value})


def view_of_task(task: Task) -> TaskView:
    return TaskView(
        id=task.id,
        tool=task.tool,
        status=task.status,
        message=task.message,
        progress=task.progress,
        total=task.total,
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


TASK_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool(
        "task_start",
        "Start a task",
        TaskStartParams,
        WriteResult,
        task_start,
        Effect.WRITE,
        needs_grant=False,
    ),
    Tool("task_get", "Follow a task", OneTaskParams, TaskDetail, task_get, needs_grant=False),
    Tool("task_list", "List tasks", TaskListParams, Listing[TaskView], task_list, needs_grant=False),
    Tool(
        "task_cancel",
        "Cancel a task",
        TaskCancelParams,
        WriteResult,
        task_cancel,
        Effect.WRITE,
        idempotent=True,
        needs_grant=False,
    ),
)

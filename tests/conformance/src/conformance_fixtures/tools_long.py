"""Tools whose calls go on as tasks."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import Field

from conformance_fixtures.tools import text
from conformance_fixtures.tools_asking import NAME, field, form, one
from devops_mcp.adapters.base import Outside, Params, TaskSupport, Tool, ToolResult
from devops_mcp.models.conversation import Conversation
from devops_mcp.models.errors import InvalidInput


class GreetParams(Params):
    name: str = Field(max_length=200, description="Whom.")


async def greet(client: Outside, params: GreetParams) -> ToolResult:
    """Greets at once."""
    return text(f"Hello, {params.name}!")


class ComputeParams(Params):
    seconds: float = Field(ge=0, le=300, description="How long it takes.")
    label: str = Field(default="", max_length=200, description="What for.")


async def slow_compute(client: Outside, params: ComputeParams, conversation: Conversation) -> ToolResult:
    """Takes a while."""
    for second in range(int(params.seconds)):
        await conversation.progress(second, params.seconds)
        await asyncio.sleep(1)
    await asyncio.sleep(params.seconds % 1)
    return text(f"computed {params.label} in {params.seconds:g} s")


async def failing_job(client: Outside, params: Params) -> ToolResult:
    """Works for a moment and then finds that it cannot."""
    await asyncio.sleep(1)
    raise InvalidInput("the job failed, as it always does")


async def protocol_error_job(client: Outside, params: Params) -> ToolResult:
    """Breaks down."""
    raise RuntimeError("nobody foresaw this")


class FileParams(Params):
    filename: str = Field(max_length=200, description="Which file.")


async def confirm_delete(client: Outside, params: FileParams, conversation: Conversation) -> ToolResult:
    """Asks, while it runs, whether to go on."""
    question = form(f"Delete {params.filename}?", confirm={"type": "boolean"})
    confirmed = field(await one(conversation, "confirm", question), "confirm")
    return text(f"{params.filename} {'deleted' if confirmed else 'kept'}")


async def multi_input(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks two things at once while it runs."""
    first, second = form("First?", confirm={"type": "boolean"}), form("Second?", confirm={"type": "boolean"})
    await conversation.ask({"first": first, "second": second})
    return text("both answered")


async def tool_with_task(client: Outside, params: Params, conversation: Conversation) -> ToolResult:
    """Asks for a name before it becomes a task, and greets it there."""
    return text(f"Hello, {field(await one(conversation, 'user_name', NAME), 'name')}!")


_OPTIONAL, _REQUIRED, _LONG = TaskSupport.OPTIONAL, TaskSupport.REQUIRED, timedelta(minutes=5)

LONG_TOOLS: tuple[Tool[Outside, Any, Any], ...] = (
    Tool("greet", "Greets", GreetParams, ToolResult, greet),
    Tool("slow_compute", "Computes", ComputeParams, ToolResult, slow_compute, task=_OPTIONAL, deadline=_LONG),
    Tool("failing_job", "Fails", Params, ToolResult, failing_job, task=_REQUIRED),
    Tool("protocol_error_job", "Breaks", Params, ToolResult, protocol_error_job, task=_OPTIONAL),
    Tool("confirm_delete", "Confirms", FileParams, ToolResult, confirm_delete, task=_OPTIONAL),
    Tool("multi_input", "Asks twice", Params, ToolResult, multi_input, task=_OPTIONAL),
    Tool(
        "test_tool_with_task",
        "Asks first",
        Params,
        ToolResult,
        tool_with_task,
        task=_REQUIRED,
        ask_first=lambda params: {"user_name": NAME},
    ),
)

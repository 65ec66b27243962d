"""The way to tools that are not listed: search them, describe them, call them.

A list of every tool would cost a model tens of thousands of tokens before its first word, so a connection lists the suite's own tools only,
unless it asks for more.
"""

from typing import Any

from pydantic import Field

from devops_mcp.adapters.base import Effect, Params, ReadParams, Tool, ToolResult, WriteParams
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import Forbidden
from devops_mcp.operations.catalogue import DescribedTool, FoundTool
from devops_mcp.operations.suite_tools import Desk
from devops_mcp.operations.tool_outcomes import Relayed


class ToolsSearchParams(ReadParams):
    query: str = Field(
        min_length=1, max_length=500, description="What you want to do, in words: 'logs of a failed run'."
    )
    system: str | None = Field(default=None, max_length=40, description="Only tools of this system.")
    limit: int = Field(default=8, ge=1, le=30)


class FoundTools(ToolResult):
    """`systems` are those that have tools for you."""

    items: list[FoundTool]
    systems: list[str]


class ToolsDescribeParams(Params):
    names: tuple[str, ...] = Field(min_length=1, max_length=10, description="Names that tools_search gave.")


class DescribedTools(ToolResult):
    items: list[DescribedTool]


class ToolsReadParams(Params):
    name: str = Field(min_length=1, max_length=64, description="The tool's name.")
    arguments: JsonObject = Field(default_factory=dict, description="As its input_schema says.")


class ToolsCallParams(WriteParams):
    name: str = Field(min_length=1, max_length=64, description="The tool's name.")
    arguments: JsonObject = Field(default_factory=dict, description="As its input_schema says.")


async def tools_search(desk: Desk, params: ToolsSearchParams) -> FoundTools:
    """Find tools of all systems by what they do, among those you may use. Then tools_describe, then tools_read or tools_call."""
    entries = desk.toolbox.entries()
    wanted = [entry for entry in entries if params.system in (None, entry.system)]
    ranked = await desk.suite.tool_search.rank(params.query, wanted)
    return FoundTools(
        items=[entry.found for entry in ranked[: params.limit]],
        systems=sorted({entry.system for entry in entries}),
    )


async def tools_describe(desk: Desk, params: ToolsDescribeParams) -> DescribedTools:
    """Read what tools do and the schemas of their arguments, before you call them with tools_read or tools_call."""
    entries = [desk.toolbox.entry(name) for name in dict.fromkeys(params.names)]
    return DescribedTools(items=[entry.described for entry in entries])


async def tools_read(desk: Desk, params: ToolsReadParams) -> Relayed:
    """Call a tool that only reads, by its name and with its arguments. Answers what that tool answers."""
    entry = desk.toolbox.entry(params.name)
    if entry.tool.effect is not Effect.READ:
        raise Forbidden(f"{params.name} changes something: call it with tools_call")
    return Relayed(outcome=await desk.toolbox.call(params.name, params.arguments))


async def tools_call(desk: Desk, params: ToolsCallParams) -> Relayed:
    """Call any tool, by its name and with its arguments. Answers what that tool answers."""
    arguments = dict(params.arguments)
    if desk.toolbox.entry(params.name).tool.effect is not Effect.READ:
        beside = params.model_dump(include={"idempotency_key", "dry_run"}, exclude_defaults=True)
        arguments = {**beside, **arguments}
    return Relayed(outcome=await desk.toolbox.call(params.name, arguments))


FRONT_DOOR_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool("tools_search", "Find tools", ToolsSearchParams, FoundTools, tools_search, needs_grant=False),
    Tool(
        "tools_describe",
        "Describe tools",
        ToolsDescribeParams,
        DescribedTools,
        tools_describe,
        needs_grant=False,
    ),
    Tool(
        "tools_read",
        "Call a tool that reads",
        ToolsReadParams,
        Relayed,
        tools_read,
        needs_grant=False,
        relays=True,
    ),
    Tool(
        "tools_call",
        "Call a tool",
        ToolsCallParams,
        Relayed,
        tools_call,
        Effect.WRITE,
        needs_grant=False,
        relays=True,
    ),
)

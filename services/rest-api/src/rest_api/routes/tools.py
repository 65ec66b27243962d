"""Tools: the ones agents have, called the same way."""

from typing import Any, Literal, TypeAlias

from pydantic import Field

from devops_mcp.adapters.base import Effect
from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.pages import Page
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.requester import Requester
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody
from rest_api.listing import Listing, page_of

TAG = "tools"


class OneTool(Model):
    name: str = Field(max_length=64)


class ToolsWanted(Model):
    """Which tools to list: those of a system (`suite`: our own), with an effect, and those whose name holds `name`."""

    system: str | None = Field(default=None, min_length=1, max_length=40)
    effect: Effect | None = None
    name: str | None = Field(default=None, min_length=1, max_length=64)

    def holds(self, entry: CatalogueEntry) -> bool:
        """Whether the tool is one of these."""
        return (
            self.system in (None, entry.system)
            and self.effect in (None, entry.tool.effect)
            and (self.name or "") in entry.tool.name
        )


ToolSort: TypeAlias = Literal["name", "-name", "system", "-system"]


class ToolPage(ToolsWanted, Listing[ToolSort]):
    """A page of tools. `cursor` is `next_cursor` of the page before."""

    sort: ToolSort = "name"


class ToolSummary(Model):
    """A tool in short. `effect` is `read`, `write` or `destructive`."""

    name: str
    title: str
    system: str
    effect: str
    risk: str
    description: str


class ToolDescription(ToolSummary):
    """A tool with the JSON Schemas of its arguments and its result."""

    input_schema: JsonObject
    output_schema: JsonObject


class ToolArguments(Body):
    arguments: JsonObject = Field(default_factory=dict)


class ToolReply(Model):
    """The tool's result; `truncated` in it leads to the whole of one that was cut."""

    result: JsonObject


async def list_tools(call: Call[ToolPage, NoBody]) -> Page[ToolSummary]:
    """List the tools that the caller may call, by name unless `sort` says otherwise."""
    visible = call.platform.tools.visible(_requester(call))
    return page_of([ToolSummary(**_summary(one)) for one in visible if call.params.holds(one)], call.params)


async def describe_tool(call: Call[OneTool, NoBody]) -> ToolDescription:
    """Describe one tool."""
    entry = call.platform.tools.get(_requester(call), call.params.name)
    return ToolDescription(
        **_summary(entry), input_schema=entry.input_schema, output_schema=entry.output_schema
    )


async def call_tool(call: Call[OneTool, ToolArguments]) -> ToolReply:
    """Call a tool."""
    outcome = await call.platform.tools.call(_requester(call), call.params.name, call.body.arguments)
    return ToolReply(result=outcome.data)


def _requester(call: Call[Any, Any]) -> Requester:
    return Requester(call.principal)


def _summary(entry: CatalogueEntry) -> dict[str, str]:
    tool = entry.tool
    return {
        "name": tool.name,
        "title": tool.title,
        "system": entry.system,
        "effect": tool.effect.value,
        "risk": tool.risk.value,
        "description": tool.description,
    }


TOOLS: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/tools", TAG, list_tools, Page[ToolSummary], params=ToolPage),
    Endpoint(
        "GET", "/api/v1/tools/{name}", TAG, describe_tool, ToolDescription, params=OneTool, errors=(404,)
    ),
    Endpoint(
        "POST",
        "/api/v1/tools/{name}/call",
        TAG,
        call_tool,
        ToolReply,
        params=OneTool,
        body=ToolArguments,
        errors=(404, 409, 429, 502),
        leased=True,
    ),
)

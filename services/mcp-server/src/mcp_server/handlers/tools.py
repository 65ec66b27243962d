"""tools/list and tools/call."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.adapters.base import Effect
from devops_mcp.models.errors import NotFound, PlatformError
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.tools import ToolService
from mcp_server.caller import principal_of

PAGE = 50
TTL_MS = 60_000


class ToolHandlers:
    """Lists what the caller may call, and calls it."""

    def __init__(self, tools: ToolService) -> None:
        self._tools = tools

    async def list(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """Pages in the order of names; a cursor is the name that the page before ended with."""
        entries = self._tools.visible(await principal_of(ctx))
        start = _start(entries, params.cursor if params else None)
        page = entries[start : start + PAGE]
        more = page[-1].tool.name if start + PAGE < len(entries) else None
        return types.ListToolsResult(
            tools=[described(entry) for entry in page], next_cursor=more, ttl_ms=TTL_MS, cache_scope="private"
        )

    async def call(
        self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """What goes wrong inside a tool is a result that tells the model so; only an unknown tool is a protocol error."""
        principal = await principal_of(ctx)
        try:
            self._tools.get(principal, params.name)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        try:
            outcome = await self._tools.call(principal, params.name, params.arguments or {})
        except PlatformError as error:
            return failed(error)
        content = types.TextContent(type="text", text=outcome.text)
        return types.CallToolResult(content=[content], structured_content=outcome.data)


def described(entry: CatalogueEntry) -> types.Tool:
    """The tool as the protocol describes it."""
    tool = entry.tool
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=entry.input_schema,
        output_schema=entry.output_schema,
        annotations=types.ToolAnnotations(
            read_only_hint=tool.effect is Effect.READ,
            destructive_hint=tool.effect is Effect.DESTRUCTIVE,
            idempotent_hint=tool.effect is Effect.READ or tool.idempotent,
            open_world_hint=entry.system != "suite",
        ),
    )


def failed(error: PlatformError) -> types.CallToolResult:
    """The error for a model: what happened, whether asking again can help, and when."""
    text = f"{error.code}: {error.message}"
    if error.retryable:
        when = f" after {error.retry_after_s:g} s" if error.retry_after_s else ""
        text += f". The same call may succeed{when}."
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)


def _start(entries: tuple[CatalogueEntry, ...], cursor: str | None) -> int:
    if cursor is None:
        return 0
    for position, entry in enumerate(entries):
        if entry.tool.name == cursor:
            return position + 1
    raise MCPError(types.INVALID_PARAMS, "not a cursor of this list; begin again without one")

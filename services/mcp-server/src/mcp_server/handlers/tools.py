"""tools/list and tools/call."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.adapters.base import Effect, TaskSupport
from devops_mcp.models.base import JsonObject
from devops_mcp.models.conversation import InputRequired
from devops_mcp.models.errors import NotFound, PlatformError
from devops_mcp.operations.catalogue import SUITE, CatalogueEntry
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tasks import TaskService, becomes_task
from devops_mcp.operations.tools import ToolService
from mcp_server.caller import requester_of
from mcp_server.conversation import RetryingConversation, conversation_of, incapable
from mcp_server.handlers.contents import result_of
from mcp_server.handlers.subscriptions import SubscriptionHandlers
from mcp_server.handlers.tasks import can_follow, created, required_but_missing

PAGE = 50
TTL_MS = 60_000
RETRY_AFTER = "io.devops-mcp/retryAfter"
"""Where a result that is an error says in its `_meta` after how many seconds the same call may succeed."""
_EXECUTION = {
    TaskSupport.OPTIONAL: types.ToolExecution(task_support="optional"),
    TaskSupport.REQUIRED: types.ToolExecution(task_support="required"),
}


class ToolHandlers:
    """Lists what is laid before the caller, and calls it."""

    def __init__(self, tools: ToolService, tasks: TaskService, subscriptions: SubscriptionHandlers) -> None:
        self._subscriptions = subscriptions
        self._tools = tools
        self._tasks = tasks
        self._described: dict[str, types.Tool] = {}

    async def page(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """Pages in the order of names; a cursor is the name that the page before ended with."""
        await self._subscriptions.watch_lists(ctx)
        return self.page_for(await requester_of(ctx), params.cursor if params else None)

    def require_cursor(self, requester: Requester, cursor: str | None) -> None:
        """Raise `MCPError` for a cursor that leads to no page of the requester's."""
        if cursor is not None:
            _start(self._tools.visible(requester), cursor)

    def page_for(self, requester: Requester, cursor: str | None) -> types.ListToolsResult:
        """The page that `cursor` leads to, of the tools that are laid before the requester."""
        entries = self._tools.visible(requester)
        start = _start(entries, cursor)
        page = entries[start : start + PAGE]
        more = page[-1].tool.name if start + PAGE < len(entries) else None
        return types.ListToolsResult(
            tools=[self._description(entry) for entry in page],
            next_cursor=more,
            ttl_ms=TTL_MS,
            cache_scope="private",
        )

    async def call(
        self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult | JsonObject:
        """What goes wrong inside a tool is a result that tells the model so; only an unknown tool is a protocol error."""
        conversation = conversation_of(ctx, params)
        requester = await requester_of(ctx, conversation)
        try:
            entry = self._tools.get(requester, params.name)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        following = can_follow(ctx)
        if entry.tool.task is TaskSupport.REQUIRED and not following:
            raise required_but_missing()
        try:
            if becomes_task(entry, caller_can_follow=following):
                return created(await self._tasks.submit(requester, params.name, params.arguments or {}))
            outcome = await self._tools.call(requester, params.name, params.arguments or {})
        except InputRequired as needed:
            assert isinstance(conversation, RetryingConversation)
            return conversation.required(needed)
        except PlatformError as error:
            if (refusal := incapable(ctx, error)) is not None:
                raise refusal from None
            return failed(error)
        return result_of(outcome)

    def _description(self, entry: CatalogueEntry) -> types.Tool:
        known = self._described.get(entry.tool.name)
        if known is None:
            known = self._described[entry.tool.name] = described(entry)
        return known


def described(entry: CatalogueEntry) -> types.Tool:
    """The tool as the protocol describes it."""
    tool = entry.tool
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=entry.input_schema,
        output_schema=entry.output_schema,
        execution=_EXECUTION.get(tool.task),
        annotations=_annotations(entry),
    )


def _annotations(entry: CatalogueEntry) -> types.ToolAnnotations:
    """Only what differs from what a client assumes of a tool: that it changes and may destroy something in the world outside."""
    tool = entry.tool
    reads = tool.effect is Effect.READ
    return types.ToolAnnotations(
        read_only_hint=True if reads else None,
        destructive_hint=False if tool.effect is Effect.WRITE and not tool.relays else None,
        idempotent_hint=True if tool.idempotent and not reads else None,
        open_world_hint=False if entry.system == SUITE and not tool.relays else None,
    )


def failed(error: PlatformError) -> types.CallToolResult:
    """The error as the result of the call."""
    content = types.TextContent(type="text", text=error_text(error))
    meta = {RETRY_AFTER: error.retry_after_s} if error.retryable and error.retry_after_s else None
    return types.CallToolResult(content=[content], is_error=True, _meta=meta)


def error_text(error: PlatformError) -> str:
    """The error for a model: what happened, whether asking again can help, and when."""
    text = f"{error.code}: {error.message}"
    if not error.retryable:
        return text
    when = f" after {error.retry_after_s:g} s" if error.retry_after_s else ""
    return f"{text}. The same call may succeed{when}."


def _start(entries: tuple[CatalogueEntry, ...], cursor: str | None) -> int:
    if cursor is None:
        return 0
    for position, entry in enumerate(entries):
        if entry.tool.name == cursor:
            return position + 1
    raise MCPError(types.INVALID_PARAMS, "not a cursor of this list; begin again without one")

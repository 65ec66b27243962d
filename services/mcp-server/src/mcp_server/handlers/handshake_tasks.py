"""The experimental tasks of revision 2025-11-25, which a client asks for call by call.

The SDK's tables of that revision leave them out, so this stands in front of the handlers and gives the answers that differ.
"""

from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.adapters.base import TaskSupport
from devops_mcp.models.errors import NotFound, PlatformError
from devops_mcp.operations.tasks import TaskService
from devops_mcp.operations.tools import ToolService
from mcp_server.caller import requester_of
from mcp_server.conversation import conversation_of
from mcp_server.handlers.subscriptions import SubscriptionHandlers
from mcp_server.handlers.tasks import HANDSHAKE_TASKS, created_in_handshake_era

_CAPABILITY: dict[str, Any] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}


class HandshakeTasks:
    """A middleware of the protocol's server."""

    def __init__(self, tools: ToolService, tasks: TaskService, subscriptions: SubscriptionHandlers) -> None:
        self._tools = tools
        self._tasks = tasks
        self._subscriptions = subscriptions

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method == "initialize":
            return _declaring(await call_next(ctx))
        asked = (ctx.params or {}).get("task")
        if ctx.method == "tools/call" and ctx.protocol_version == HANDSHAKE_TASKS and isinstance(asked, dict):
            started = await self._started(ctx)
            if started is not None:
                return started
        return await call_next(ctx)

    async def _started(self, ctx: ServerRequestContext[Any, Any]) -> HandlerResult | None:
        """The task; None for what is better said as the call's own answer."""
        params = types.CallToolRequestParams.model_validate(ctx.params, by_name=False)
        requester = await requester_of(ctx, conversation_of(ctx, params))
        try:
            entry = self._tools.get(requester, params.name)
        except NotFound:
            return None
        if entry.tool.task is TaskSupport.NEVER:
            raise MCPError(types.METHOD_NOT_FOUND, f"{params.name} does not run as a task")
        try:
            task = await self._tasks.submit(requester, params.name, params.arguments or {}, asks_later=False)
        except PlatformError as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        await self._subscriptions.follow_task(ctx, task)
        return created_in_handshake_era(task)


def _declaring(result: HandlerResult) -> HandlerResult:
    """The answer to `initialize`, with the capability where its revision has one."""
    if not isinstance(result, dict) or result.get("protocolVersion") != HANDSHAKE_TASKS:
        return result
    return {**result, "capabilities": {**result["capabilities"], "tasks": _CAPABILITY}}

"""completion/complete: values for the arguments of prompts and the holes of resource templates."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.adapter_resources import AdapterResources
from devops_mcp.operations.prompts import PromptService
from devops_mcp.operations.requester import Requester
from mcp_server.caller import requester_of
from mcp_server.handlers.resources import ResourceHandlers

MAX_BEGUN = 300


class CompletionHandlers:
    """Completes what the caller has begun to write, among what it may see."""

    def __init__(
        self, prompts: PromptService, offered: AdapterResources, resources: ResourceHandlers
    ) -> None:
        self._prompts = prompts
        self._offered = offered
        self._resources = resources

    async def complete(
        self, ctx: ServerRequestContext[Any, Any], params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        requester = await requester_of(ctx)
        if len(params.argument.value) > MAX_BEGUN:
            raise MCPError(types.INVALID_PARAMS, f"a value begins with at most {MAX_BEGUN} characters")
        try:
            values = await self._values(requester, params)
        except PlatformError as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        completion = types.Completion(values=values, total=len(values), has_more=False)
        return types.CompleteResult(completion=completion)

    async def _values(self, requester: Requester, params: types.CompleteRequestParams) -> list[str]:
        name, begun = params.argument.name, params.argument.value
        if isinstance(params.ref, types.PromptReference):
            return await self._prompts.complete(requester, params.ref.name, name, begun)
        known = params.context.arguments if params.context and params.context.arguments else {}
        own = await self._resources.complete(requester.principal, params.ref.uri, name, begun, known)
        if own is not None:
            return own
        return await self._offered.complete(requester.principal, params.ref.uri, name, begun)

"""prompts/list and prompts/get."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.models.conversation import InputRequired
from devops_mcp.models.errors import PlatformError
from devops_mcp.operations.prompts import AnyPrompt, PromptService
from mcp_server.caller import principal_of, requester_of
from mcp_server.conversation import RetryingConversation, conversation_of, incapable
from mcp_server.handlers.contents import content_of
from mcp_server.handlers.subscriptions import SubscriptionHandlers

TTL_MS = 60_000


class PromptHandlers:
    """Offers prepared beginnings of conversations."""

    def __init__(self, prompts: PromptService, subscriptions: SubscriptionHandlers) -> None:
        self._subscriptions = subscriptions
        self._prompts = prompts

    async def page(
        self, ctx: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """All on one page: there are a handful."""
        if params is not None and params.cursor is not None:
            raise MCPError(types.INVALID_PARAMS, "not a cursor of this list; begin again without one")
        await self._subscriptions.watch_lists(ctx)
        prompts = self._prompts.visible(await principal_of(ctx))
        return types.ListPromptsResult(
            prompts=[_described(prompt) for prompt in prompts], ttl_ms=TTL_MS, cache_scope="private"
        )

    async def get(
        self, ctx: ServerRequestContext[Any, Any], params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """The messages, with what the prompt gathered for them."""
        conversation = conversation_of(ctx, params)
        requester = await requester_of(ctx, conversation)
        try:
            prompt, messages = await self._prompts.render(requester, params.name, params.arguments or {})
        except InputRequired as needed:
            assert isinstance(conversation, RetryingConversation)
            return conversation.required(needed)
        except PlatformError as error:
            if (refusal := incapable(ctx, error)) is not None:
                raise refusal from None
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        return types.GetPromptResult(
            description=prompt.description,
            messages=[types.PromptMessage(role=m.role, content=content_of(m.content)) for m in messages],
        )


def _described(prompt: AnyPrompt) -> types.Prompt:
    return types.Prompt(
        name=prompt.name,
        title=prompt.title,
        description=prompt.description,
        arguments=[
            types.PromptArgument(name=a.name, description=a.description, required=a.required)
            for a in prompt.arguments
        ],
    )

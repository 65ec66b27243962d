"""What is remembered, as those read it who have limited room: a context's window."""

from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.contexts import Context
from devops_mcp.models.windows import Window, WindowRequest
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, Nothing
from rest_api.routes.contexts import OneContext

TAG = "contexts"


class WindowOf(WindowRequest):
    """The window of a context; `query` says what earlier items are wanted for."""

    context_id: UUID


class OneItem(Model):
    context_id: UUID
    position: int = Field(ge=1, le=2_147_483_647)


class Compaction(Body):
    """The latest items that make up `keep_tokens` are left as they are."""

    keep_tokens: int = Field(default=1_000, ge=0, le=1_000_000_000)


async def get_context_window(call: Call[WindowOf, NoBody]) -> Window:
    """Get what of a context fits into a model's room: pinned items, the latest, what a query finds, and summaries of the older."""
    wanted = WindowRequest(max_tokens=call.params.max_tokens, query=call.params.query)
    return await call.platform.suite.windows.window(call.principal, call.params.context_id, wanted)


async def pin_context_item(call: Call[OneItem, NoBody]) -> Nothing:
    """Pin an item, so that it is in every window."""
    contexts, params = call.platform.suite.contexts, call.params
    await contexts.pin(call.principal, params.context_id, params.position, pinned=True)
    return Nothing()


async def unpin_context_item(call: Call[OneItem, NoBody]) -> Nothing:
    """Let a pinned item go."""
    contexts, params = call.platform.suite.contexts, call.params
    await contexts.pin(call.principal, params.context_id, params.position, pinned=False)
    return Nothing()


async def compact_context(call: Call[OneContext, Compaction]) -> Context:
    """Have a context summed up in the background. The items stay; summaries say which of them they stand for."""
    contexts = call.platform.suite.contexts
    return await contexts.compact(call.principal, call.params.context_id, keep_tokens=call.body.keep_tokens)


_CONTEXT = "/api/v1/contexts/{context_id}"
_PIN = f"{_CONTEXT}/items/{{position}}/pin"
MEMORY: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", f"{_CONTEXT}/window", TAG, get_context_window, Window, params=WindowOf, errors=(404,)),
    Endpoint(
        "POST",
        f"{_CONTEXT}/compact",
        TAG,
        compact_context,
        Context,
        params=OneContext,
        body=Compaction,
        status=202,
        errors=(404,),
    ),
    Endpoint("PUT", _PIN, TAG, pin_context_item, Nothing, params=OneItem, status=204, errors=(404,)),
    Endpoint("DELETE", _PIN, TAG, unpin_context_item, Nothing, params=OneItem, status=204, errors=(404,)),
)

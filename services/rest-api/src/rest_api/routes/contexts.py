"""Conversation contexts and their items."""

from typing import Literal, TypeAlias
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Metadata, Model, Moment
from devops_mcp.models.contexts import (
    Context,
    ContextDraft,
    ContextItem,
    ContextsWanted,
    ItemsWanted,
    NewItem,
)
from devops_mcp.models.pages import MAX_PAGE, Page, WrittenPage
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import Listing

TAG = "contexts"


class OneContext(Model):
    context_id: UUID


ContextSort: TypeAlias = Literal["-created_at", "created_at", "-updated_at", "updated_at", "-title", "title"]


class ContextPage(ContextsWanted, Listing[ContextSort]):
    """A page of contexts. `cursor` is `next_cursor` of the page before."""

    sort: ContextSort = "-created_at"


class OneItem(OneContext):
    position: int = Field(ge=1, le=2_147_483_647)


class ItemPage(OneContext, ItemsWanted):
    """A page of items, in order. `cursor` is `next_cursor` of the page before: the position to go on from."""

    cursor: int | None = Field(default=None, ge=0, le=2_147_483_647)
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)


class NewContext(Body):
    """It is summed up once more than `compact_above` tokens wait; left out: as the operator has set, 0: only when asked."""

    title: str = Field(min_length=1, max_length=200)
    metadata: Metadata = Field(default_factory=dict)
    compact_above: int | None = Field(default=None, ge=0, le=1_000_000_000)
    expires_at: Moment | None = None


class NewItems(Body):
    items: tuple[NewItem, ...] = Field(min_length=1, max_length=50)


class AppendedItems(Model):
    items: tuple[ContextItem, ...]


async def create_context(call: Call[NoParams, NewContext]) -> Context:
    """Create a context; it belongs to the caller."""
    body = call.body
    return await call.platform.suite.contexts.create(
        call.principal,
        body.title,
        body.metadata,
        compact_above=body.compact_above,
        expires_at=body.expires_at,
    )


async def list_contexts(call: Call[ContextPage, NoBody]) -> WrittenPage:
    """List the caller's contexts, newest first unless `sort` says otherwise."""
    params = call.params
    return await call.platform.suite.contexts.written_page(
        call.principal,
        limit=params.limit,
        order=params.order,
        wanted=ContextsWanted(title=params.title, owner_id=params.owner_id, metadata=params.metadata),
    )


async def get_context(call: Call[OneContext, NoBody]) -> Context:
    """Get one context."""
    return await call.platform.suite.contexts.get(call.principal, call.params.context_id)


async def replace_context(call: Call[OneContext, ContextDraft]) -> Context:
    """Say anew what a context is called, what is noted of it, when it is summed up and when it ends; its items stay."""
    return await call.platform.suite.contexts.replace(call.principal, call.params.context_id, call.body)


async def delete_context(call: Call[OneContext, NoBody]) -> Nothing:
    """Delete a context with its items and what was indexed of them."""
    await call.platform.suite.contexts.delete(call.principal, call.params.context_id)
    return Nothing()


async def list_context_items(call: Call[ItemPage, NoBody]) -> Page[ContextItem]:
    """List a context's items in order, or the latest first: all of them, or those of a kind or a role. A page has up to 1 MiB of them."""
    contexts, params = call.platform.suite.contexts, call.params
    one, cursor, limit = params.context_id, params.cursor, params.limit
    if params.all_in_order:
        return await contexts.items(call.principal, one, after=cursor or 0, limit=limit)
    wanted = ItemsWanted(kind=params.kind, role=params.role, sort=params.sort)
    return await contexts.items_among(call.principal, one, wanted, behind=cursor, limit=limit)


async def get_context_item(call: Call[OneItem, NoBody]) -> ContextItem:
    """Get one item of a context, with the whole of its text."""
    params = call.params
    return await call.platform.suite.contexts.item(call.principal, params.context_id, params.position)


async def append_context_items(call: Call[OneContext, NewItems]) -> AppendedItems:
    """Append items to a context, in order; they are searchable at once."""
    contexts = call.platform.suite.contexts
    return AppendedItems(
        items=tuple(await contexts.append(call.principal, call.params.context_id, call.body.items))
    )


CONTEXTS: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", "/api/v1/contexts", TAG, create_context, Context, body=NewContext, status=201),
    Endpoint("GET", "/api/v1/contexts", TAG, list_contexts, Page[Context], params=ContextPage),
    Endpoint(
        "GET", "/api/v1/contexts/{context_id}", TAG, get_context, Context, params=OneContext, errors=(404,)
    ),
    Endpoint(
        "PUT",
        "/api/v1/contexts/{context_id}",
        TAG,
        replace_context,
        Context,
        params=OneContext,
        body=ContextDraft,
        errors=(404,),
        lock=lambda tx, params: tx.contexts.lock(params.context_id),
        needs="contexts:write",
    ),
    Endpoint(
        "DELETE",
        "/api/v1/contexts/{context_id}",
        TAG,
        delete_context,
        Nothing,
        params=OneContext,
        status=204,
        errors=(404,),
    ),
    Endpoint(
        "GET",
        "/api/v1/contexts/{context_id}/items",
        TAG,
        list_context_items,
        Page[ContextItem],
        params=ItemPage,
        errors=(404,),
    ),
    Endpoint(
        "GET",
        "/api/v1/contexts/{context_id}/items/{position}",
        TAG,
        get_context_item,
        ContextItem,
        params=OneItem,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        "/api/v1/contexts/{context_id}/items",
        TAG,
        append_context_items,
        AppendedItems,
        params=OneContext,
        body=NewItems,
        status=201,
        errors=(404,),
    ),
)

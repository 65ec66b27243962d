"""What is done with a context as a whole: its window for who has limited room, its end, its snapshots, forks and export."""

from collections.abc import AsyncIterator
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Moment
from devops_mcp.models.contexts import Context, ContextSnapshot
from devops_mcp.models.pages import Page
from devops_mcp.models.windows import Window, WindowRequest
from devops_mcp.operations.context_copies import ContextLine
from rest_api.endpoint import AnyEndpoint, Body, Call, Endpoint, NoBody, Nothing
from rest_api.listing import ByAge
from rest_api.routes.contexts import OneContext, OneItem

TAG = "contexts"


class WindowOf(WindowRequest):
    """The window of a context; `query` says what earlier items are wanted for."""

    context_id: UUID


class Compaction(Body):
    """The latest items that make up `keep_tokens` are left as they are."""

    keep_tokens: int = Field(default=1_000, ge=0, le=1_000_000_000)


class Retention(Body):
    """`expires_at` null: never."""

    expires_at: Moment | None


class NewSnapshot(Body):
    name: str = Field(min_length=1, max_length=100)


class SnapshotPage(OneContext, ByAge):
    """A page of snapshots, newest first. `cursor` is `next_cursor` of the page before."""


class OneSnapshot(OneContext):
    snapshot_id: UUID


class ForkOf(Body):
    """At most one of `position` (0: empty) and `snapshot_id`; the title is that of the original if none is given."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    position: int | None = Field(default=None, ge=0, le=2_147_483_647)
    snapshot_id: UUID | None = None


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


async def set_context_retention(call: Call[OneContext, Retention]) -> Context:
    """Say when a context ends by itself; from then on it is not there, and it is removed within the hour."""
    contexts = call.platform.suite.contexts
    return await contexts.expire_at(call.principal, call.params.context_id, call.body.expires_at)


async def snapshot_context(call: Call[OneContext, NewSnapshot]) -> ContextSnapshot:
    """Name how a context is now, to fork it from there later."""
    copies = call.platform.suite.copies
    return await copies.snapshot(call.principal, call.params.context_id, call.body.name)


async def list_context_snapshots(call: Call[SnapshotPage, NoBody]) -> Page[ContextSnapshot]:
    """List a context's snapshots, newest first unless `sort` says otherwise."""
    copies, params = call.platform.suite.copies, call.params
    return await copies.snapshots(call.principal, params.context_id, order=params.order, limit=params.limit)


async def get_context_snapshot(call: Call[OneSnapshot, NoBody]) -> ContextSnapshot:
    """Get one snapshot of a context."""
    copies, params = call.platform.suite.copies, call.params
    return await copies.get_snapshot(call.principal, params.context_id, params.snapshot_id)


async def delete_context_snapshot(call: Call[OneSnapshot, NoBody]) -> Nothing:
    """Forget a snapshot; the context, and what was forked from it, stay."""
    copies, params = call.platform.suite.copies, call.params
    await copies.delete_snapshot(call.principal, params.context_id, params.snapshot_id)
    return Nothing()


async def fork_context(call: Call[OneContext, ForkOf]) -> Context:
    """Create a context that begins as this one was, at a position or a snapshot; else as it is. It belongs to the caller."""
    copies, body = call.platform.suite.copies, call.body
    return await copies.fork(
        call.principal,
        call.params.context_id,
        title=body.title,
        position=body.position,
        snapshot_id=body.snapshot_id,
    )


async def export_context(call: Call[OneContext, NoBody]) -> AsyncIterator[ContextLine]:
    """Export a context as it is now, with its files: a head, then an item a line. `POST /api/v1/imports` takes the lines in again."""
    return await call.platform.suite.copies.export(call.principal, call.params.context_id)


_CONTEXT = "/api/v1/contexts/{context_id}"
_SNAPSHOT = f"{_CONTEXT}/snapshots/{{snapshot_id}}"
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
    Endpoint(
        "PUT",
        f"{_CONTEXT}/retention",
        TAG,
        set_context_retention,
        Context,
        params=OneContext,
        body=Retention,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        f"{_CONTEXT}/snapshots",
        TAG,
        snapshot_context,
        ContextSnapshot,
        params=OneContext,
        body=NewSnapshot,
        status=201,
        errors=(404, 409),
    ),
    Endpoint(
        "GET",
        f"{_CONTEXT}/snapshots",
        TAG,
        list_context_snapshots,
        Page[ContextSnapshot],
        params=SnapshotPage,
        errors=(404,),
    ),
    Endpoint("GET", _SNAPSHOT, TAG, get_context_snapshot, ContextSnapshot, params=OneSnapshot, errors=(404,)),
    Endpoint(
        "DELETE",
        _SNAPSHOT,
        TAG,
        delete_context_snapshot,
        Nothing,
        params=OneSnapshot,
        status=204,
        errors=(404,),
    ),
    Endpoint(
        "POST",
        f"{_CONTEXT}/fork",
        TAG,
        fork_context,
        Context,
        params=OneContext,
        body=ForkOf,
        status=201,
        made_at="/api/v1/contexts/{id}",
        errors=(404,),
    ),
    Endpoint(
        "GET",
        f"{_CONTEXT}/export",
        TAG,
        export_context,
        ContextLine,
        params=OneContext,
        errors=(404,),
        lines=True,
    ),
    Endpoint("PUT", _PIN, TAG, pin_context_item, Nothing, params=OneItem, status=204, errors=(404,)),
    Endpoint("DELETE", _PIN, TAG, unpin_context_item, Nothing, params=OneItem, status=204, errors=(404,)),
)

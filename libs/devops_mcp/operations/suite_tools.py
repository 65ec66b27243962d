"""The suite's own tools: contexts, search, events, kept results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from devops_mcp.adapters.base import (
    Effect,
    Listing,
    ListParams,
    Params,
    Tool,
    ToolResult,
    WriteParams,
    WriteResult,
)
from devops_mcp.events.model import Event
from devops_mcp.models.base import JsonObject, Metadata, Model
from devops_mcp.models.contexts import Context, ContextItem, ItemKind, ItemsWanted, NewItem, context_uri
from devops_mcp.models.conversation import Conversation
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.pages import Order
from devops_mcp.models.principals import Principal
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.context_copies import ContextCopyService
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.event_log import EventLog
from devops_mcp.operations.facts import FactService
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.results import ResultService
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.summaries import summary_of
from devops_mcp.operations.tasks import TaskService
from devops_mcp.operations.tool_search import ToolSearch
from devops_mcp.operations.tools import Toolbox
from devops_mcp.operations.windows import WindowService
from devops_mcp.repositories.context_pages import Room, Texts

_FRAME_BYTES = 200
"""What stands around a context and its items."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The services behind the suite's tools."""

    contexts: ContextService
    search: SearchService
    events: EventLog
    results: ResultService
    tool_search: ToolSearch
    tasks: TaskService
    windows: WindowService
    facts: FactService
    copies: ContextCopyService
    agents: AgentService

    def desk(self, requester: Requester, toolbox: Toolbox) -> "Desk":
        return Desk(self, requester.principal, toolbox)


@dataclass(frozen=True, slots=True)
class Desk:
    """The suite as one principal works with it."""

    suite: Suite
    principal: Principal
    toolbox: Toolbox


class ContextCreateParams(WriteParams):
    title: str = Field(min_length=1, max_length=200, description="What it is about, in one line.")
    metadata: Metadata = Field(default_factory=dict, description="To remember with it, up to 16 KB.")


class ContextAppendParams(WriteParams):
    context_id: UUID
    items: tuple[NewItem, ...] = Field(min_length=1, max_length=50, description="What to add, in order.")


class ContextGetParams(ListParams):
    context_id: UUID


class ContextSummarizeParams(WriteParams):
    context_id: UUID
    items: int = Field(default=200, ge=1, le=1_000, description="How many of the latest.")


class ContextItemView(Model):
    """An item as a reader sees it."""

    position: int
    kind: ItemKind
    role: str | None
    text: str
    created_at: datetime


class ContextView(Model):
    id: UUID
    title: str
    item_count: int
    token_count: int
    metadata: JsonObject
    updated_at: datetime


class ContextItems(Listing[ContextItemView]):
    """A context and a page of its items."""

    context: ContextView


class EventListParams(EventsWanted, ListParams):
    pass


class EventView(Model):
    """An event in short; `data` holds what its type tells beyond that."""

    id: UUID
    type: str
    system: str
    subject: str
    title: str
    occurred_at: datetime
    url: str | None
    actor: str | None
    data: JsonObject


class ResultReadParams(Params):
    handle: UUID = Field(description="`truncated.handle` of a result that was cut.")
    json_path: str | None = Field(
        default=None, max_length=500, description="Only this part (RFC 9535), as `$.items[*].name`."
    )
    contains: str | None = Field(
        default=None, min_length=1, max_length=200, description="Only lines with this text."
    )
    offset: int = Field(default=0, ge=0, description="Lines to skip.")
    limit: int = Field(default=200, ge=1, le=2_000)


class ResultLines(ToolResult):
    """Lines of the kept JSON; `total` counts those that match."""

    lines: list[str]
    offset: int
    total: int
    next_offset: int | None = None


async def context_create(desk: Desk, params: ContextCreateParams) -> WriteResult:
    """Start a conversation context: a lasting memory for this work. Returns its id; append what you learn to it."""
    if params.dry_run:
        return WriteResult(dry_run=True, done=f"would create the context {params.title!r}")
    context = await desk.suite.contexts.create(desk.principal, params.title, params.metadata)
    return WriteResult(
        done=f"created the context {context.title!r}",
        data={"context_id": str(context.id)},
        url=context_uri(context.id),
    )


async def context_append(desk: Desk, params: ContextAppendParams) -> WriteResult:
    """Append items (findings, decisions, messages) to a conversation context. They are searchable at once."""
    if params.dry_run:
        context = await desk.suite.contexts.get(desk.principal, params.context_id)
        return WriteResult(dry_run=True, done=f"would append {len(params.items)} items to {context.title!r}")
    appended = await desk.suite.contexts.append(desk.principal, params.context_id, params.items)
    return WriteResult(
        done=f"appended {len(appended)} items",
        data={"context_id": str(params.context_id), "positions": [item.position for item in appended]},
        url=context_uri(params.context_id),
    )


async def context_get(desk: Desk, params: ContextGetParams) -> ContextItems:
    """Read a conversation context and its items, in order from the start."""
    budget = desk.toolbox.budget_bytes
    texts = Texts.WHOLE if not params.fields or "text" in params.fields else Texts.NONE
    wanted = Room(params.limit, budget, texts, metadata=False)
    context, page = await desk.suite.contexts.read(
        desk.principal, params.context_id, after=_position(params.cursor), room=wanted
    )
    view = view_of_context(context)
    room = budget - len(view.model_dump_json().encode()) - _FRAME_BYTES
    items = _fitting([_view_of_item(item) for item in page.items], params.fields, room)
    cut = len(items) < len(page.items)
    return ContextItems(
        context=view,
        items=items,
        next_cursor=str(items[-1].position) if cut else page.next_cursor,
        total=context.item_count,
    )


def _fitting(
    items: Sequence[ContextItemView], fields: Sequence[str], room_bytes: int
) -> list[ContextItemView]:
    """The first of them that fit, as they are shown; one at least, which is cut where it is too large."""
    shown, left = list[ContextItemView](), room_bytes
    for item in items:
        left -= len(item.model_dump_json(include=set(fields) or None, exclude_none=True).encode()) + 1
        if shown and left < 0:
            break
        shown.append(item)
    return shown


async def context_list(desk: Desk, params: ListParams) -> Listing[ContextView]:
    """List your conversation contexts, newest first."""
    page = await desk.suite.contexts.page(
        desk.principal, order=Order(after_id=as_uuid(params.cursor)), limit=params.limit
    )
    return Listing[ContextView](items=[view_of_context(c) for c in page.items], next_cursor=page.next_cursor)


async def context_summarize(
    desk: Desk, params: ContextSummarizeParams, conversation: Conversation
) -> WriteResult:
    """Sum a context up and append the summary to it, for whoever takes over; with your own model where you lend one."""
    context = await desk.suite.contexts.get(desk.principal, params.context_id)
    if params.dry_run:
        return WriteResult(dry_run=True, done=f"would sum up {context.title!r}")
    latest = await desk.suite.contexts.items_among(
        desk.principal, params.context_id, ItemsWanted(sort="-position"), behind=None, limit=params.items
    )
    items = latest.items[::-1]
    if not items:
        raise InvalidInput(f"{context.title!r} has no items to sum up")
    text, made_by = await summary_of(context.title, items, conversation)
    covers = (items[0].position, items[-1].position)
    appended = await desk.suite.contexts.summarised(
        desk.principal, params.context_id, text, covers=covers, made_by=made_by
    )
    return WriteResult(
        done=f"summed up {len(items)} items",
        data={"summary": text, "made_by": made_by, "position": appended.position},
        url=context_uri(params.context_id),
    )


async def event_list(desk: Desk, params: EventListParams) -> Listing[EventView]:
    """List what happened in the DevOps systems (changes, builds, deployments, alerts), newest first."""
    page = await desk.suite.events.page(
        desk.principal,
        EventsWanted(**params.model_dump(include=set(EventsWanted.model_fields))),
        order=Order(after_id=as_uuid(params.cursor)),
        limit=params.limit,
    )
    return Listing[EventView](items=[view_of_event(e) for e in page.items], next_cursor=page.next_cursor)


async def result_read(desk: Desk, params: ResultReadParams) -> ResultLines:
    """Read the whole of a result that was cut, by its handle: lines from an offset, lines with a text, or a JSON path."""
    lines = await desk.suite.results.lines(desk.principal, params.handle, params.json_path)
    if params.contains is not None:
        lines = [line for line in lines if params.contains in line]
    end = params.offset + params.limit
    return ResultLines(
        lines=lines[params.offset : end],
        offset=params.offset,
        total=len(lines),
        next_offset=end if end < len(lines) else None,
    )


SUITE_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool("context_create", "Start a context", ContextCreateParams, WriteResult, context_create, Effect.WRITE),
    Tool(
        "context_append",
        "Append to a context",
        ContextAppendParams,
        WriteResult,
        context_append,
        Effect.WRITE,
    ),
    Tool("context_get", "Read a context", ContextGetParams, ContextItems, context_get),
    Tool("context_list", "List contexts", ListParams, Listing[ContextView], context_list),
    Tool(
        "context_summarize",
        "Sum a context up",
        ContextSummarizeParams,
        WriteResult,
        context_summarize,
        Effect.WRITE,
        essential=False,
    ),
    Tool("event_list", "List events", EventListParams, Listing[EventView], event_list),
    Tool("result_read", "Read a kept result", ResultReadParams, ResultLines, result_read),
)


def view_of_context(context: Context) -> ContextView:
    return ContextView(
        id=context.id,
        title=context.title,
        item_count=context.item_count,
        token_count=context.token_count,
        metadata=context.metadata,
        updated_at=context.updated_at,
    )


def view_of_event(event: Event) -> EventView:
    """The event in short: what all events have as fields, the rest in `data`."""
    whole: JsonObject = event.model_dump(mode="json", exclude_none=True)
    return EventView(
        id=event.id,
        type=event.type,
        system=event.system,
        subject=event.subject,
        title=event.title,
        occurred_at=event.occurred_at,
        url=event.url,
        actor=event.actor,
        data={name: value for name, value in whole.items() if name not in _COMMON},
    )


def as_uuid(cursor: str | None) -> UUID | None:
    """A cursor that is an id; raises `InvalidInput` for one that we did not give."""
    try:
        return UUID(cursor) if cursor else None
    except ValueError:
        raise bad_cursor() from None


_COMMON = frozenset(
    {"id", "tenant_id", "type", "system", "source", "subject", "title", "occurred_at", "url", "actor"}
)


def _position(cursor: str | None) -> int:
    if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise bad_cursor()
    return int(cursor or 0)


def bad_cursor() -> InvalidInput:
    problem = "not a cursor that this list gave; leave it out to begin anew"
    return InvalidInput(f"arguments.cursor: {problem}", (Violation("arguments.cursor", problem),))


def _view_of_item(item: ContextItem) -> ContextItemView:
    return ContextItemView(
        position=item.position, kind=item.kind, role=item.role, text=item.text, created_at=item.created_at
    )

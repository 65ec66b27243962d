"""The suite's tools over what is remembered: a context's window, and facts as of a time."""

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
from devops_mcp.models.base import Moment
from devops_mcp.models.contexts import context_uri
from devops_mcp.models.facts import LATEST_BEGUN, Fact, FactQuery
from devops_mcp.models.pages import Order
from devops_mcp.models.windows import MAX_TOKENS, MIN_TOKENS, WindowItem, WindowRequest
from devops_mcp.operations.suite_tools import Desk, bad_cursor

BYTES_PER_TOKEN = 6
"""JSON escapes some; a text of four bytes a token seldom grows by half."""
BYTES_PER_ITEM = 400


class ContextWindowParams(Params):
    context_id: UUID
    max_tokens: int = Field(default=4_000, ge=MIN_TOKENS, le=MAX_TOKENS, description="Room for the texts.")
    query: str | None = Field(
        default=None, min_length=1, max_length=2_000, description="What earlier items are wanted for."
    )


class ContextWindowResult(ToolResult):
    """Items in order; `why` each is there, and which positions a summary stands for. `item_count` counts all of the context."""

    title: str
    tokens: int
    item_count: int
    mode: str | None
    items: list[WindowItem]


class ContextPinParams(WriteParams):
    context_id: UUID
    position: int = Field(ge=1, le=2_147_483_647)
    pinned: bool = Field(default=True, description="False lets it go.")


async def context_window(desk: Desk, params: ContextWindowParams) -> ContextWindowResult:
    """Read what matters of a long context within a budget of tokens: pinned items, the latest, those relevant to a query, and summaries."""
    wanted = WindowRequest(max_tokens=params.max_tokens, query=params.query)
    window = await desk.suite.windows.window(desk.principal, params.context_id, wanted)
    return ContextWindowResult(
        title=window.title,
        tokens=window.tokens,
        item_count=window.item_count,
        mode=window.mode,
        items=list(window.items),
        room_bytes=params.max_tokens * BYTES_PER_TOKEN + len(window.items) * BYTES_PER_ITEM,
    )


async def context_pin(desk: Desk, params: ContextPinParams) -> WriteResult:
    """Pin an item of a context, so that it is in every window, or let it go."""
    if params.dry_run:
        context = await desk.suite.contexts.get(desk.principal, params.context_id)
        return WriteResult(dry_run=True, done=f"would change item {params.position} of {context.title!r}")
    await desk.suite.contexts.pin(desk.principal, params.context_id, params.position, pinned=params.pinned)
    return WriteResult(
        done=f"{'pinned' if params.pinned else 'let go of'} item {params.position}",
        url=context_uri(params.context_id),
    )


class FactListParams(ListParams):
    subject: str | None = Field(
        default=None,
        min_length=1,
        max_length=600,
        description="A repository, or `service@environment`, or what an alert is about; `*` stands for anything.",
    )
    predicate: str | None = Field(
        default=None,
        min_length=1,
        max_length=60,
        description="One of deployed, deployment, alert, build, change, head, scan, release, issue.",
    )
    as_of: Moment | None = Field(default=None, description="What was so at this time; default now.")
    before_event: UUID | None = Field(default=None, description="Right before this event, such as an alert.")
    history: bool = Field(default=False, description="Also what was so before that.")


async def fact_list(desk: Desk, params: FactListParams) -> Listing[Fact]:
    """List what was so at a time: which version was deployed where before an alert, which alerts fired, which builds had failed."""
    query = FactQuery(
        subject=params.subject,
        predicate=params.predicate,
        as_of=params.as_of,
        before_event=params.before_event,
        history=params.history,
    )
    page = await desk.suite.facts.page(
        desk.principal, query, order=_latest_begun(params.cursor), limit=params.limit
    )
    return Listing[Fact](items=list(page.items), next_cursor=page.next_cursor)


def _latest_begun(cursor: str | None) -> Order:
    """From behind a fact that the cursor names; raises `InvalidInput` for one that we did not give."""
    if not cursor:
        return LATEST_BEGUN
    id_, _, begun = cursor.partition(" ")
    try:
        after = {"after_id": UUID(id_), "after": datetime.fromisoformat(begun).isoformat()}
    except ValueError:
        raise bad_cursor() from None
    return LATEST_BEGUN.model_copy(update=after)


MEMORY_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool(
        "context_window",
        "Read what matters of a context",
        ContextWindowParams,
        ContextWindowResult,
        context_window,
        essential=False,
    ),
    Tool(
        "fact_list",
        "List what was so",
        FactListParams,
        Listing[Fact],
        fact_list,
        essential=False,
    ),
    Tool(
        "context_pin",
        "Pin an item of a context",
        ContextPinParams,
        WriteResult,
        context_pin,
        Effect.WRITE,
        idempotent=True,
        essential=False,
    ),
)

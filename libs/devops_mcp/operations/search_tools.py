"""The suite's tool that searches everything remembered."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from devops_mcp.adapters.base import ReadParams, Tool, ToolResult
from devops_mcp.models.base import Model, Moment
from devops_mcp.models.passages import Hit, PassageKind, Question
from devops_mcp.operations.suite_tools import Desk

MAX_PASSAGE = 1_200
"""Characters of a passage that an answer shows; its uri leads to the rest."""
RECENCY_WEIGHT = 0.5
"""What `prefer_recent` takes from the score of a passage that is very old."""


class SearchParams(ReadParams):
    query: str = Field(min_length=1, max_length=2_000)
    kinds: tuple[PassageKind, ...] = Field(default=(), max_length=3)
    context_id: UUID | None = None
    system: str | None = Field(default=None, max_length=40, description="As `github`.")
    subject: str | None = Field(default=None, max_length=300)
    since: datetime | None = None
    until: datetime | None = None
    as_of: Moment | None = Field(default=None, description="What was known then.")
    before_event: UUID | None = Field(default=None, description="Before this event.")
    prefer_recent: bool = False
    neighbours: int = Field(default=0, ge=0, le=5, description="Before and after each.")
    limit: int = Field(default=8, ge=1, le=50)


class PassageView(Model):
    """A passage found; `uri` is a resource to read for the whole, `why` its ranks by words and by meaning, `around` its neighbours."""

    kind: str
    title: str
    text: str
    uri: str
    occurred_at: datetime
    score: float
    why: str
    around: list[str] | None = None


class SearchResult(ToolResult):
    """`mode` is `hybrid` (words and meaning) or `lexical` (words only: no embedding model is at hand)."""

    items: list[PassageView]
    mode: str


async def context_search(desk: Desk, params: SearchParams) -> SearchResult:
    """Search what is remembered (contexts, events of all systems, kept results) by a question in your own words."""
    question = Question(
        query=params.query,
        kinds=params.kinds,
        context_id=params.context_id,
        systems=(params.system,) if params.system else (),
        subject=params.subject,
        since=params.since,
        until=params.until,
        as_of=params.as_of,
        before_event=params.before_event,
        recency_weight=RECENCY_WEIGHT if params.prefer_recent else 0.0,
        neighbours=params.neighbours,
        limit=params.limit,
    )
    answer = await desk.suite.search.ask(desk.principal, question)
    return SearchResult(items=[view_of_hit(hit) for hit in answer.hits], mode=answer.mode)


SEARCH_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool("context_search", "Search what is remembered", SearchParams, SearchResult, context_search),
)


def view_of_hit(hit: Hit) -> PassageView:
    """The hit as a reader with limited room sees it."""
    passage = hit.passage
    return PassageView(
        kind=passage.kind,
        title=passage.title,
        text=passage.text[:MAX_PASSAGE],
        uri=passage.uri,
        occurred_at=passage.occurred_at,
        score=round(hit.score, 5),
        why=_why(hit),
        around=[f"{n.offset:+d} {n.uri}: {n.text}" for n in hit.neighbours] or None,
    )


def _why(hit: Hit) -> str:
    ranks = {"words": hit.lexical_rank, "meaning": hit.vector_rank}
    said = ", ".join(f"{name} #{rank}" for name, rank in ranks.items() if rank)
    recency = hit.explanation.recency
    return said if recency == 1 else f"{said}, age ×{recency:.2f}"

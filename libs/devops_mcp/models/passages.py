"""Searchable text: what is indexed, asked and found."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field, SkipValidation

from devops_mcp.models.base import JsonObject, Metadata, Model, Moment

MAX_QUERY = 2_000
"""Characters."""


class PassageKind(StrEnum):
    CONTEXT_ITEM = "context_item"
    EVENT = "event"
    RESULT = "result"


class NewPassage(Model):
    """A text to be made searchable. `source_id` and `part` (from 0) identify it: indexing the same again replaces nothing."""

    kind: PassageKind
    source_id: UUID
    part: int = 0
    context_id: UUID | None = None
    title: str
    text: str
    uri: str
    occurred_at: datetime
    metadata: SkipValidation[JsonObject] = Field(default_factory=dict)
    """Our own, or the database's: to look at each value again would take as long as all the rest."""


class Passage(NewPassage):
    """An indexed text."""

    id: UUID
    space: str | None = None


class Question(Model):
    """A search. Filters are conjunctive; an empty tuple means every value.

    `recency_weight` is the share of a score that age takes away: with 0 age does not count, with 1 a passage loses half its score each
    `half_life_days`. `neighbours` asks for as many before and after each hit. `exact` compares with every vector that the filters leave.
    """

    query: str = Field(min_length=1, max_length=MAX_QUERY)
    kinds: tuple[PassageKind, ...] = Field(default=(), max_length=8)
    context_id: UUID | None = None
    owner_id: UUID | None = None
    """Only what belongs to this principal; what is the tenant's belongs to none."""
    systems: tuple[str, ...] = Field(default=(), max_length=20)
    sources: tuple[str, ...] = Field(default=(), max_length=20)
    """Names of integrations."""
    subject: str | None = Field(default=None, min_length=1, max_length=300)
    metadata: Metadata = Field(default_factory=dict)
    """Found is what has at least these members (`@>` of PostgreSQL)."""
    since: Moment | None = None
    until: Moment | None = None
    as_of: Moment | None = None
    """Searches the past: what came later is neither found nor a neighbour, and age counts from then."""
    before_event: UUID | None = None
    """As of right before this event happened."""
    recency_weight: float = Field(default=0.0, ge=0, le=1)
    half_life_days: float = Field(default=14.0, ge=0.01, le=36_500)
    neighbours: int = Field(default=0, ge=0, le=5)
    exact: bool = False
    limit: int = Field(default=10, ge=1, le=50)


class Explanation(Model):
    """How a score came about: `score` is `fused` times `recency`.

    `fused` sums, over the rankings that contain the passage, a weight divided by a constant plus its rank; that of words is multiplied by
    `coverage`, the share of the question's words that the passage holds. `relevance` is what the words were ranked by, `distance` the
    cosine distance to the question in `space`.
    """

    fused: float
    recency: float
    relevance: float | None
    coverage: float | None
    distance: float | None
    space: str | None


class Neighbour(Model):
    """What stands beside a hit, of an item in its context, of an event among those of its subject: `offset` -1 is the one before."""

    offset: int
    title: str
    text: str
    uri: str
    occurred_at: datetime


class Hit(Model):
    """A passage found. Ranks count from 1; None: that ranking did not contain it. `score`: higher is better.

    `highlights` are parts of the text with the question's words between `**`; none where only the meaning was found.
    """

    passage: Passage
    score: float
    lexical_rank: int | None
    vector_rank: int | None
    explanation: Explanation
    highlights: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()


class Answer(Model):
    """`mode` is `hybrid`, or `lexical` where no embedding model is available.

    `spaces` name the vectors compared; `exact` says that they were with all that the filters leave.
    """

    hits: tuple[Hit, ...]
    mode: str
    spaces: tuple[str, ...] = ()
    exact: bool = False

"""Searchable text: what is indexed, asked and found."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model


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
    metadata: JsonObject = Field(default_factory=dict)


class Passage(NewPassage):
    """An indexed text."""

    id: UUID
    space: str | None = None


class Question(Model):
    """A search. Filters are conjunctive; an empty `kinds` means every kind."""

    query: str = Field(min_length=1, max_length=2_000)
    kinds: tuple[PassageKind, ...] = ()
    context_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = Field(default=10, ge=1, le=50)


class Hit(Model):
    """A passage found. Ranks count from 1; None: that ranking did not contain it. `score` is the fused one, higher is better."""

    passage: Passage
    score: float
    lexical_rank: int | None
    vector_rank: int | None


class Answer(Model):
    """`mode` is `hybrid`, or `lexical` where no embedding model is available; `space` names the vectors compared."""

    hits: tuple[Hit, ...]
    mode: str
    space: str | None = None

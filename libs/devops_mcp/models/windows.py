"""What of a context is shown to a model that has limited room."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model
from devops_mcp.models.contexts import ItemKind

MIN_TOKENS = 100
MAX_TOKENS = 200_000


class Why(StrEnum):
    """What brought an item into a window, the strongest reason first."""

    SYSTEM = "system"
    PINNED = "pinned"
    RECENT = "recent"
    RELEVANT = "relevant"
    SUMMARY = "summary"


class WindowRequest(Model):
    """`max_tokens` is the room for the items' texts, counted as `tokens` are; `query` says what earlier items are wanted for."""

    max_tokens: int = Field(default=4_000, ge=MIN_TOKENS, le=MAX_TOKENS)
    query: str | None = Field(default=None, min_length=1, max_length=2_000)


class WindowItem(Model):
    """An item as it is shown. `shortened`: `text` is a part of it; `tokens` are those of `text`.

    A summary stands for the items at the positions `covers_from` to `covers_to`.
    """

    position: int
    kind: ItemKind
    role: str | None
    why: Why
    text: str
    tokens: int
    shortened: bool = False
    covers_from: int | None = None
    covers_to: int | None = None
    created_at: datetime


class Window(Model):
    """Items in the order in which they came, a summary where the first item stood that it stands for.

    `tokens` is the sum of the items' and at most `max_tokens`; `item_count` counts all of the context. `mode` says how the query was
    answered: `hybrid`, or `lexical` without an embedding model; None: nothing was asked.
    """

    context_id: UUID
    title: str
    max_tokens: int
    tokens: int
    item_count: int
    mode: str | None
    items: tuple[WindowItem, ...]

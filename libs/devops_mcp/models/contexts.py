"""Conversation contexts and their items."""

import json
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

import orjson
from pydantic import Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from devops_mcp.models.base import JsonObject, Metadata, Model, Moment
from devops_mcp.models.blobs import Attachment


class ItemKind(StrEnum):
    MESSAGE = "message"
    TOOL_CALL = "tool_call"
    RESULT = "result"
    NOTE = "note"
    SUMMARY = "summary"


class Context(Model):
    """A conversation that outlives its connections. `item_count` is also the position of the last item.

    It is summed up as far as the position `compacted_to`, once the items behind that have more than `compact_above` tokens (None: as the
    operator has set); `pending_tokens` counts them, and `compaction_id` is set while it is being done.
    It ends by itself at `expires_at`. A fork began with the items of `forked_from` up to the position `forked_at`.
    """

    id: UUID
    tenant_id: UUID
    owner_id: UUID
    title: str
    metadata: JsonObject
    item_count: int
    token_count: int
    pending_tokens: int = 0
    compacted_to: int = 0
    compaction_id: UUID | None = None
    compact_above: int | None = None
    expires_at: datetime | None = None
    forked_from: UUID | None = None
    forked_at: int | None = None
    created_at: datetime
    updated_at: datetime


class ContextsWanted(Model):
    """Which contexts to list: those whose title holds `title`, whatever its case, those of one owner, and those whose metadata hold all of
    a JSON object."""

    title: str | None = Field(default=None, min_length=1, max_length=200)
    owner_id: UUID | None = None
    metadata: str | None = Field(default=None, max_length=2_000, examples=['{"team": "shop"}'])

    @field_validator("metadata")
    @classmethod
    def _is_an_object(cls, value: str | None) -> str | None:
        if value is not None and (not isinstance(orjson.loads(value), dict) or "\\u0000" in value):
            raise ValueError("must be a JSON object, without NUL")
        if value is not None and _repeats_a_key(value):
            raise ValueError("holds a key twice, or is nested too deeply")
        return value


def _repeats_a_key(written: str) -> bool:
    """Whether a JSON object holds a key twice, or more levels than are looked into."""
    repeated: list[object] = []

    def read(members: list[tuple[str, object]]) -> dict[str, object]:
        read = dict(members)
        if len(read) < len(members):
            repeated.append(read)
        return read

    try:
        json.loads(written, object_pairs_hook=read)
    except RecursionError:
        return True
    return bool(repeated)


class ContextDraft(Model):
    """A context as its owner says it is. It is summed up once more than `compact_above` tokens wait; null: as the operator has set, 0: only
    when asked. It ends by itself at `expires_at`."""

    title: str = Field(min_length=1, max_length=200)
    metadata: Metadata = Field(default_factory=dict)
    compact_above: int | None = Field(default=None, ge=0, le=1_000_000_000)
    expires_at: Moment | None = None


class ItemsWanted(Model):
    """Which items of a context to list, and from which end: those of a kind, of a role."""

    kind: ItemKind | None = None
    role: str | None = Field(default=None, min_length=1, max_length=40)
    sort: Literal["position", "-position"] = "position"

    @property
    def all_in_order(self) -> bool:
        """Whether they are all wanted, from the first on."""
        return self.sort == "position" and self.kind is None and self.role is None


class NewItem(Model):
    """What a caller appends."""

    kind: ItemKind = ItemKind.NOTE
    role: str | None = Field(default=None, max_length=40)
    text: str = Field(min_length=1, max_length=200_000)
    metadata: Metadata = Field(default_factory=dict)
    pinned: bool = False


class ContextItem(Model):
    """One item; `position` counts from 1 within its context, without gaps.

    What is `pinned` is in every window. An item with an `attachment` has the text that was said of the file. A summary stands for the items
    at the positions `covers_from` to `covers_to`.
    """

    id: UUID
    context_id: UUID
    position: int
    kind: ItemKind
    role: str | None
    text: str
    tokens: int
    metadata: JsonObject
    pinned: bool = False
    covers_from: int | None = None
    covers_to: int | None = None
    attachment: Attachment | None = None
    blob_id: SkipJsonSchema[UUID | None] = Field(default=None, exclude=True)
    """Where the whole text is, or the attachment, once it is too large for its row."""
    created_at: datetime


class ContextSnapshot(Model):
    """A name for how a context was: its items up to `position`."""

    id: UUID
    context_id: UUID
    name: str
    position: int
    created_at: datetime


def context_uri(context_id: UUID) -> str:
    """The address of a context, the same for search results, changes and MCP resources."""
    return f"devops://contexts/{context_id}"

"""Items at the end of a context, together with what belongs to them: in one statement, so that a context is locked for no round trip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation, UniqueViolation
from psycopg.rows import TupleRow, tuple_row

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.blobs import Attachment
from devops_mcp.models.contexts import ContextItem, NewItem
from devops_mcp.models.errors import AlreadyWritten, Conflict, NotFound
from devops_mcp.repositories.outbox import Posting
from devops_mcp.repositories.rows import dumps, rows


@dataclass(frozen=True, slots=True)
class CountedItem:
    """An item with its id and its length in tokens; `covers` are the first and last position that a summary stands for.

    `blob_id` is where its attachment is kept or, with `head` as the beginning that stays in the row, its text.
    """

    id: UUID
    item: NewItem
    tokens: int
    covers: tuple[int, int] | None = None
    attachment: Attachment | None = None
    blob_id: UUID | None = None
    head: str | None = None
    created_at: datetime | None = None
    """None: now."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is found of an item, by its words at once: a part of its text, under the id of its passage."""

    id: UUID
    item_id: UUID
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Beside:
    """What is written with items: what is found of them, under the context's `uri`, what is published, what is recorded."""

    uri: str = ""
    parts: Sequence[Part] = ()
    postings: Sequence[Posting] = ()
    record: AuditRecord | None = None
    """It gets the positions of the items, and is chained soon."""


NOTHING_BESIDE = Beside()

# An hour after it was begun, a compaction has died with its message.
APPEND: LiteralString = """
    WITH context AS (
        UPDATE contexts SET item_count = item_count + %(count)s, token_count = token_count + %(tokens)s,
            pending_tokens = pending_tokens + %(pending)s, updated_at = now(), taken_in_until = now() + %(patience)s::interval
        WHERE id = %(context)s AND (%(owner)s::uuid IS NULL OR owner_id = %(owner)s)
            AND CASE WHEN %(patience)s::interval IS NULL THEN expires_at IS NULL OR expires_at > now() ELSE taken_in_until IS NOT NULL END
            AND (%(above)s::int IS NULL OR (
                pending_tokens + %(pending)s > nullif(coalesce(compact_above, %(above)s), 0)
                AND (compaction_id IS NULL OR compaction_id < uuid_floor(now() - interval '1 hour'))) IS NOT TRUE)
        RETURNING id, owner_id, title, item_count - %(count)s AS before
    ), added AS (
        INSERT INTO context_items (context_id, position, id, kind, role, text, tokens, metadata, pinned, covers_from, covers_to,
            attachment, blob_id, created_at)
        SELECT c.id, c.before + i.number, i.id, i.kind, i.role, i.text, i.tokens, i.metadata, i.pinned, i.covers_from, i.covers_to,
            i.attachment, i.blob_id, coalesce(i.created_at, now())
        FROM context AS c, jsonb_to_recordset(%(items)s::jsonb)
            AS i (number int, id uuid, kind text, role text, text text, tokens int, metadata jsonb, pinned bool, covers_from int,
                  covers_to int, attachment jsonb, blob_id uuid, created_at timestamptz)
        RETURNING id, position, kind, created_at
    ), indexed AS (
        INSERT INTO passages (id, owner_id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
        SELECT p.id, c.owner_id, 'context_item', a.id, p.number, c.id, c.title, p.text, %(uri)s || '#' || a.position,
            a.created_at, jsonb_build_object('kind', a.kind, 'position', a.position)
        FROM context AS c, added AS a
            JOIN jsonb_to_recordset(%(parts)s::jsonb) AS p (id uuid, item_id uuid, number int, text text) ON p.item_id = a.id
    ), posted AS (
        INSERT INTO outbox (id, queue, message, trace)
        SELECT p.id, p.queue, p.message, p.trace
        FROM context, jsonb_to_recordset(%(postings)s::jsonb) AS p (id uuid, queue text, message text, trace text)
    ), recorded AS (
        INSERT INTO audit_waiting (id, record)
        SELECT (%(record)s::jsonb ->> 'id')::uuid, %(record)s::jsonb || jsonb_build_object(
            'arguments', jsonb_build_object('from', before + 1, 'to', before + %(count)s))
        FROM context WHERE %(record)s::jsonb IS NOT NULL
    )
    SELECT before, now(), CASE WHEN %(posts)s THEN pg_notify('outbox', '') END FROM context
"""


async def append(
    connection: AsyncConnection[TupleRow],
    context_id: UUID,
    items: Sequence[CountedItem],
    *,
    owner_id: UUID | None,
    unless_above: int | None,
    beside: Beside,
    patience: timedelta | None,
) -> list[ContextItem]:
    """As `Contexts.append`."""
    values = {
        "context": context_id,
        "owner": owner_id,
        "count": len(items),
        "tokens": sum(item.tokens for item in items),
        "pending": sum(item.tokens for item in items if item.covers is None),
        "items": rows(_row(number, counted) for number, counted in enumerate(items, 1)),
        "uri": beside.uri,
        "parts": rows(
            {"id": p.id, "item_id": p.item_id, "number": p.number, "text": p.text} for p in beside.parts
        ),
        "postings": rows(
            {"id": p.id, "queue": p.queue, "message": p.message, "trace": p.trace} for p in beside.postings
        ),
        "posts": bool(beside.postings),
        "above": unless_above,
        "patience": patience,
        "record": None if beside.record is None else dumps(beside.record),
    }
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(APPEND, values)
            row = await cursor.fetchone()
    except ForeignKeyViolation:
        raise Conflict("a blob that an item refers to has been removed") from None
    except UniqueViolation:
        raise AlreadyWritten(f"context {context_id} has these items") from None
    if row is None:
        raise NotFound(f"there is no context {context_id}")
    before, now, _ = row
    return [_item(context_id, before + number, now, counted) for number, counted in enumerate(items, 1)]


def _row(number: int, counted: CountedItem) -> Mapping[str, Any]:
    item, covers = counted.item, counted.covers or (None, None)
    return {
        "number": number,
        "id": counted.id,
        "kind": item.kind,
        "role": item.role,
        "text": item.text if counted.head is None else counted.head,
        "tokens": counted.tokens,
        "metadata": item.metadata,
        "pinned": item.pinned,
        "covers_from": covers[0],
        "covers_to": covers[1],
        "attachment": counted.attachment and counted.attachment.__dict__,
        "blob_id": counted.blob_id,
        "created_at": counted.created_at,
    }


def _item(context_id: UUID, position: int, now: datetime, counted: CountedItem) -> ContextItem:
    """The item as it is now, with the whole of its text, of which its row may hold the beginning."""
    item, covers = counted.item, counted.covers or (None, None)
    return ContextItem(
        id=counted.id,
        context_id=context_id,
        position=position,
        kind=item.kind,
        role=item.role,
        text=item.text,
        tokens=counted.tokens,
        metadata=item.metadata,
        pinned=item.pinned,
        covers_from=covers[0],
        covers_to=covers[1],
        attachment=counted.attachment,
        blob_id=counted.blob_id,
        created_at=counted.created_at or now,
    )

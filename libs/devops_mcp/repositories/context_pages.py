"""As many of a context's items as there is room for: what is not shown is not read, however long it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from devops_mcp.models.contexts import ContextItem, ItemsWanted
from devops_mcp.repositories.statements import composed
from devops_mcp.repositories.stored import stored

ITEM: LiteralString = """
    id, context_id, position, kind, role, text, tokens, metadata, pinned, covers_from, covers_to, attachment, blob_id, created_at
"""


class Texts(StrEnum):
    """How much of the items' texts is wanted: all of it, what the rows hold of it, nothing."""

    WHOLE = "whole"
    HEADS = "heads"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Room:
    """So many items at most, and so many bytes; one is shown however large it is. Without `metadata` what is noted of them is left out."""

    items: int
    max_bytes: int
    texts: Texts = Texts.WHOLE
    metadata: bool = True


# octet_length and pg_column_size know a long value's size without reading it.
_FITTING: LiteralString = """
    SELECT {columns} FROM (
        SELECT {columns}, row_number() OVER w AS number, sum(bytes) OVER w AS running FROM (
            SELECT id, context_id, position, kind, role, CASE WHEN %(texts)s = 'none' THEN '' ELSE text END AS text, tokens,
                CASE WHEN %(metadata)s THEN metadata ELSE '{{}}' END AS metadata, pinned, covers_from, covers_to,
                attachment, blob_id, created_at,
                CASE WHEN %(metadata)s THEN 250 + pg_column_size(metadata) ELSE 100 END + CASE
                    WHEN %(texts)s = 'none' THEN 0
                    WHEN %(texts)s = 'whole' AND blob_id IS NOT NULL AND attachment IS NULL
                        THEN (SELECT b.size FROM blobs AS b WHERE b.id = blob_id)
                    ELSE octet_length(text) END AS bytes
            FROM context_items WHERE context_id = %(context_id)s AND {wanted}
            ORDER BY position {direction} LIMIT %(items)s) AS candidates
        WINDOW w AS (ORDER BY position {direction})) AS added_up
    WHERE number = 1 OR running <= %(max_bytes)s ORDER BY position {direction}
"""
_FROM_START = composed(_FITTING, columns=ITEM, wanted="position > %(after)s", direction="ASC")
_OF_KIND: LiteralString = """(%(behind)s::int IS NULL OR position {sign} %(behind)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(role)s::text IS NULL OR role = %(role)s)"""


async def page(
    connection: AsyncConnection[TupleRow], context_id: UUID, after: int, room: Room
) -> list[ContextItem]:
    """Items in order, with a position above `after`."""
    return await _found(connection, _FROM_START, {"context_id": context_id, "after": after}, room)


async def page_among(
    connection: AsyncConnection[TupleRow],
    context_id: UUID,
    wanted: ItemsWanted,
    behind: int | None,
    room: Room,
) -> tuple[list[ContextItem], bool]:
    """Items that are wanted, behind the position `behind`; and whether there are more."""
    descending = wanted.sort == "-position"
    among = composed(_OF_KIND, sign="<" if descending else ">")
    values = {"context_id": context_id, "behind": behind, "kind": wanted.kind, "role": wanted.role}
    statement = composed(_FITTING, columns=ITEM, wanted=among, direction="DESC" if descending else "ASC")
    items = await _found(connection, statement, values, room)
    if not items:
        return [], False
    beyond = composed(
        "SELECT EXISTS (SELECT FROM context_items WHERE context_id = %(context_id)s AND {among})", among=among
    )
    cursor = await connection.execute(beyond, {**values, "behind": items[-1].position})
    row = await cursor.fetchone()
    return items, bool(row and row[0])


async def _found(
    connection: AsyncConnection[TupleRow], statement: LiteralString, values: Mapping[str, object], room: Room
) -> list[ContextItem]:
    limits = {
        "items": room.items,
        "max_bytes": room.max_bytes,
        "texts": room.texts,
        "metadata": room.metadata,
    }
    async with connection.cursor(row_factory=stored(ContextItem)) as cursor:
        await cursor.execute(statement, {**values, **limits})
        return await cursor.fetchall()

"""Contexts and their items."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from devops_mcp.models.base import JsonObject
from devops_mcp.models.contexts import Context, ContextDraft, ContextItem, ContextsWanted, ItemsWanted
from devops_mcp.models.pages import Order
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.context_appends import NOTHING_BESIDE, Beside, CountedItem, append
from devops_mcp.repositories.context_pages import ITEM, Room, page, page_among
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed
from devops_mcp.repositories.stored import stored
from devops_mcp.repositories.written import Written, written

_CONTEXT: LiteralString = """
    id, tenant_id, owner_id, title, metadata, item_count, token_count, pending_tokens, compacted_to, compaction_id, compact_above,
    expires_at, forked_from, forked_at, created_at, updated_at
"""


COUNTED = 5_000
"""So many passages of a context are counted at most."""
_SIZE: LiteralString = """
    item_count, (SELECT count(*) FROM (SELECT FROM passages AS p WHERE p.context_id = contexts.id LIMIT %(counted)s) AS first)
"""


class Size(NamedTuple):
    """How much a context holds; of its passages up to `COUNTED`. A file may have a thousand."""

    items: int
    passages: int


class Expired(NamedTuple):
    """A context whose time is over; `deleted`: because somebody said so."""

    id: UUID
    deleted: bool
    size: Size


_SORTED: Columns = {"created_at": "timestamptz", "updated_at": "timestamptz", "title": "text"}

FIND = composed(
    """
    SELECT {columns}
    FROM contexts WHERE id = %s AND (expires_at IS NULL OR expires_at > now())
    """,
    columns=_CONTEXT,
)


@cache
def page_statement(field: str, descending: bool) -> LiteralString:
    """Lists contexts in this order."""
    order = Order(field=field, descending=descending)
    return composed(
        """
        SELECT {columns}
        FROM contexts
        WHERE (%(owner)s::uuid IS NULL OR owner_id = %(owner)s) AND {behind}
            AND (%(owner_id)s::uuid IS NULL OR owner_id = %(owner_id)s)
            AND (%(title)s::text IS NULL OR strpos(lower(title), lower(%(title)s)) > 0)
            AND (expires_at IS NULL OR expires_at > now()) AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s::jsonb)
        ORDER BY {order} LIMIT %(limit)s
        """,
        columns=_CONTEXT,
        behind=behind(_SORTED, order),
        order=by(_SORTED, order),
    )


def _page(
    owner_id: UUID | None, wanted: ContextsWanted, order: Order, limit: int
) -> tuple[LiteralString, dict[str, object]]:
    """The statement that lists contexts, and its values."""
    values = {"owner": owner_id, "limit": limit, **wanted.__dict__, **values_of(order)}
    return page_statement(order.field, order.descending), values


class Contexts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        context_id: UUID,
        owner_id: UUID,
        title: str,
        metadata: JsonObject,
        compact_above: int | None = None,
        expires_at: datetime | None = None,
    ) -> Context:
        async with self._connection.cursor(row_factory=stored(Context)) as cursor:
            await cursor.execute(
                composed(
                    """
                INSERT INTO contexts (id, owner_id, title, metadata, compact_above, expires_at) VALUES (%s, %s, %s, %s, %s, %s)
                RETURNING {columns}
                """,
                    columns=_CONTEXT,
                ),
                (context_id, owner_id, title, Jsonb(metadata), compact_above, expires_at),
            )
            created: Context | None = await cursor.fetchone()
        assert created is not None
        return created

    async def begin(
        self, context_id: UUID, owner_id: UUID, title: str, metadata: JsonObject, patience: timedelta
    ) -> None:
        """A context that nobody is shown, and that `append` is given `patience` for, until `complete`."""
        await self._connection.execute(
            """
            INSERT INTO contexts (id, owner_id, title, metadata, expires_at, taken_in_until) VALUES (%s, %s, %s, %s, now(), now() + %s)
            """,
            (context_id, owner_id, title, Jsonb(metadata), patience),
        )

    async def complete(self, context_id: UUID, expires_at: datetime | None) -> Context | None:
        """Show what was begun; None where it is gone, or was shown before."""
        async with self._connection.cursor(row_factory=stored(Context)) as cursor:
            await cursor.execute(
                composed(
                    """
                UPDATE contexts SET taken_in_until = NULL, expires_at = %s, updated_at = now()
                WHERE id = %s AND taken_in_until IS NOT NULL RETURNING {columns}
                """,
                    columns=_CONTEXT,
                ),
                (expires_at, context_id),
            )
            return await cursor.fetchone()

    async def find(self, context_id: UUID) -> Context | None:
        """The context, unless it has expired."""
        async with self._connection.cursor(row_factory=stored(Context)) as cursor:
            await cursor.execute(FIND, (context_id,))
            return await cursor.fetchone()

    async def find_with_items(
        self, context_id: UUID, after: int, room: Room
    ) -> tuple[Context | None, list[ContextItem]]:
        """The context, and as many of its items as there is room for, with a position above `after`; in one round trip."""
        context = self._connection.ask(FIND, (context_id,), _first, row_factory=stored(Context))
        items = await page(self._connection, context_id, after, room)
        return await context, items

    async def lock(self, context_id: UUID) -> None:
        """Until the transaction ends nobody else changes this context, or appends to it."""
        await self._connection.execute("SELECT FROM contexts WHERE id = %s FOR UPDATE", (context_id,))

    async def replace(self, context_id: UUID, draft: ContextDraft) -> Context | None:
        """Write what its owner says of it; None where there is none."""
        async with self._connection.cursor(row_factory=stored(Context)) as cursor:
            await cursor.execute(
                composed(
                    """
                UPDATE contexts SET title = %s, metadata = %s, compact_above = %s, expires_at = %s, updated_at = now()
                WHERE id = %s RETURNING {columns}
                """,
                    columns=_CONTEXT,
                ),
                (draft.title, Jsonb(draft.metadata), draft.compact_above, draft.expires_at, context_id),
            )
            return await cursor.fetchone()

    async def page(
        self, owner_id: UUID | None, wanted: ContextsWanted, order: Order, limit: int
    ) -> list[Context]:
        """Contexts of one owner, or with None of all."""
        async with self._connection.cursor(row_factory=stored(Context)) as cursor:
            await cursor.execute(*_page(owner_id, wanted, order, limit))
            return await cursor.fetchall()

    async def written_page(
        self, owner_id: UUID | None, wanted: ContextsWanted, order: Order, limit: int
    ) -> list[Written]:
        """The same, on their way to become JSON."""
        async with self._connection.cursor(row_factory=written(Context)) as cursor:
            await cursor.execute(*_page(owner_id, wanted, order, limit))
            return await cursor.fetchall()

    async def append(
        self,
        context_id: UUID,
        items: Sequence[CountedItem],
        *,
        owner_id: UUID | None = None,
        unless_above: int | None = None,
        beside: Beside = NOTHING_BESIDE,
        patience: timedelta | None = None,
    ) -> list[ContextItem]:
        """Add items at the end, in order, with what belongs to them, in one statement. Writers queue up, so that no position is lost.

        With `owner_id` only to a context of this owner; with `unless_above` only to one that is not to be summed up then: its own limit
        of tokens, or else this one (0: none), is kept, or somebody is at it. With `patience` only to one that was begun and is not
        complete, which then has so long again. Raises `NotFound` where there is none, or it has expired, `Conflict` for a blob that is
        gone, `AlreadyWritten` for an item that is there.
        """
        return await append(
            self._connection,
            context_id,
            items,
            owner_id=owner_id,
            unless_above=unless_above,
            beside=beside,
            patience=patience,
        )

    async def items(self, context_id: UUID, after: int, limit: int) -> list[ContextItem]:
        """Items in order, with a position above `after`."""
        async with self._connection.cursor(row_factory=stored(ContextItem)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT {columns}
                FROM context_items WHERE context_id = %s AND position > %s ORDER BY position LIMIT %s
                """,
                    columns=ITEM,
                ),
                (context_id, after, limit),
            )
            return await cursor.fetchall()

    async def items_among(
        self, context_id: UUID, wanted: ItemsWanted, behind: int | None, room: Room
    ) -> tuple[list[ContextItem], bool]:
        """Items that are wanted, behind the position `behind`, as many as there is room for; and whether there are more."""
        return await page_among(self._connection, context_id, wanted, behind, room)

    async def blob_ids(self, context_id: UUID) -> list[UUID]:
        """The blobs that the context's items refer to."""
        cursor = await self._connection.execute(
            "SELECT DISTINCT blob_id FROM context_items WHERE context_id = %s AND blob_id IS NOT NULL",
            (context_id,),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def delete(self, context_id: UUID) -> bool:
        """Remove a context with its items and passages; whether it was there."""
        cursor = await self._connection.execute("DELETE FROM contexts WHERE id = %s", (context_id,))
        return cursor.rowcount == 1

    async def lock_size(self, context_id: UUID) -> Size | None:
        """How much the context holds, to which nothing is added until the transaction ends; None where it is not there."""
        cursor = await self._connection.execute(
            composed("SELECT {size} FROM contexts WHERE id = %(id)s FOR UPDATE", size=_SIZE),
            {"id": context_id, "counted": COUNTED},
        )
        row = await cursor.fetchone()
        return None if row is None else Size(*row)

    async def give_up(self, context_id: UUID) -> None:
        """Let it be one whose time is over, which `expired` gives as deleted."""
        await self._connection.execute(
            "UPDATE contexts SET expires_at = 'epoch', taken_in_until = NULL WHERE id = %s", (context_id,)
        )

    async def empty(self, context_id: UUID, limit: int) -> tuple[int, list[UUID]]:
        """Remove up to `limit` rows of what it holds, what was indexed first; how many, and the blobs that items referred to."""
        count = 0
        for statement in (
            "DELETE FROM passage_sketches WHERE ctid = ANY (ARRAY(SELECT ctid FROM passage_sketches WHERE context_id = %s LIMIT %s))",
            "DELETE FROM passages WHERE ctid = ANY (ARRAY(SELECT ctid FROM passages WHERE context_id = %s LIMIT %s))",
        ):
            cursor = await self._connection.execute(statement, (context_id, limit - count))
            count += cursor.rowcount
        cursor = await self._connection.execute(
            """
            DELETE FROM context_items WHERE ctid = ANY (ARRAY(SELECT ctid FROM context_items WHERE context_id = %s LIMIT %s))
            RETURNING blob_id
            """,
            (context_id, limit - count),
        )
        blobs = [row[0] for row in await cursor.fetchall()]
        return count + len(blobs), [blob_id for blob_id in blobs if blob_id is not None]

    async def expired(self, limit: int) -> list[Expired]:
        """Contexts that have expired and are still here, or were begun and left; nobody shows them until the transaction ends."""
        cursor = await self._connection.execute(
            composed(
                """
            SELECT id, expires_at = 'epoch', {size} FROM contexts
            WHERE expires_at <= now() AND (taken_in_until IS NULL OR taken_in_until <= now())
            ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
            """,
                size=_SIZE,
            ),
            {"limit": limit, "counted": COUNTED},
        )
        return [Expired(row[0], row[1], Size(row[2], row[3])) for row in await cursor.fetchall()]

    async def expire_at(self, context_id: UUID, moment: datetime | None) -> None:
        """Let a context end by itself, or with None never."""
        await self._connection.execute(
            "UPDATE contexts SET expires_at = %s WHERE id = %s", (moment, context_id)
        )

    async def at(self, context_id: UUID, positions: Sequence[int]) -> list[ContextItem]:
        """The items at these positions, in order."""
        async with self._connection.cursor(row_factory=stored(ContextItem)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT {columns}
                FROM context_items WHERE context_id = %s AND position = ANY(%s) ORDER BY position
                """,
                    columns=ITEM,
                ),
                (context_id, list(positions)),
            )
            return await cursor.fetchall()

    async def pin(self, context_id: UUID, position: int, pinned: bool) -> bool:
        """Pin an item, or let it go; whether there is such an item."""
        cursor = await self._connection.execute(
            "UPDATE context_items SET pinned = %s WHERE context_id = %s AND position = %s",
            (pinned, context_id, position),
        )
        return cursor.rowcount == 1


def _first(found: Sequence[Context]) -> Context | None:
    return found[0] if found else None

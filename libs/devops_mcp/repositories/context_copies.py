"""Snapshots of contexts, and contexts that begin as copies of others."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import UniqueViolation
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.contexts import ContextSnapshot
from devops_mcp.models.errors import Conflict
from devops_mcp.models.pages import Order
from devops_mcp.repositories.attached_files import FILE_PARTS
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class ContextCopies:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add_snapshot(
        self, snapshot_id: UUID, context_id: UUID, name: str, position: int
    ) -> ContextSnapshot:
        """Name a position. Raises `Conflict` for a name that the context has given."""
        async with self._connection.cursor(row_factory=class_row(ContextSnapshot)) as cursor:
            try:
                await cursor.execute(
                    """
                    INSERT INTO context_snapshots (id, context_id, name, position) VALUES (%s, %s, %s, %s)
                    RETURNING id, context_id, name, position, created_at
                    """,
                    (snapshot_id, context_id, name, position),
                )
            except UniqueViolation:
                raise Conflict(f"the context has a snapshot {name!r} already") from None
            added = await cursor.fetchone()
        assert added is not None
        return added

    async def snapshots(self, context_id: UUID, order: Order, limit: int) -> list[ContextSnapshot]:
        async with self._connection.cursor(row_factory=class_row(ContextSnapshot)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, context_id, name, position, created_at FROM context_snapshots
                WHERE context_id = %(context)s AND {behind} ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order),
                    order=by(BY_AGE, order),
                ),
                {"context": context_id, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def snapshot(self, context_id: UUID, snapshot_id: UUID) -> ContextSnapshot | None:
        async with self._connection.cursor(row_factory=class_row(ContextSnapshot)) as cursor:
            await cursor.execute(
                """
                SELECT id, context_id, name, position, created_at FROM context_snapshots WHERE context_id = %s AND id = %s
                """,
                (context_id, snapshot_id),
            )
            return await cursor.fetchone()

    async def delete_snapshot(self, context_id: UUID, snapshot_id: UUID) -> None:
        await self._connection.execute(
            "DELETE FROM context_snapshots WHERE context_id = %s AND id = %s", (context_id, snapshot_id)
        )

    async def copy_items(self, source: UUID, target: UUID, after: int, to: int) -> None:
        """Copy the items behind `after` up to `to` into a context that has none of them; what they keep apart is shared."""
        await self._connection.execute(
            """
            INSERT INTO context_items (context_id, position, id, kind, role, text, tokens, metadata, pinned, covers_from, covers_to,
                                       attachment, blob_id, created_at)
            SELECT %s, position, gen_random_uuid(), kind, role, text, tokens, metadata, pinned, covers_from, covers_to, attachment, blob_id,
                   created_at
            FROM context_items WHERE context_id = %s AND position > %s AND position <= %s
            """,
            (target, source, after, to),
        )

    async def copy_passages(self, source: UUID, target: UUID, uri: str, after: int, to: int) -> list[UUID]:
        """Index the copies of these items as the originals are, for the target's owner; the passages' ids. They lack their vectors.

        What is found of files is left out: it may be more than one statement can copy.
        """
        cursor = await self._connection.execute(
            """
            INSERT INTO passages (id, owner_id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
            SELECT gen_random_uuid(), c.owner_id, p.kind, n.id, p.part, c.id, c.title, p.text, %(uri)s || '#' || n.position, p.occurred_at,
                   p.metadata
            FROM context_items AS o JOIN context_items AS n ON n.context_id = %(target)s AND n.position = o.position
                JOIN contexts AS c ON c.id = n.context_id
                JOIN passages AS p ON p.kind = 'context_item' AND p.source_id = o.id AND p.part < %(file_parts)s
            WHERE o.context_id = %(source)s AND o.position > %(after)s AND o.position <= %(to)s
            RETURNING id
            """,
            {
                "source": source,
                "target": target,
                "uri": uri,
                "after": after,
                "to": to,
                "file_parts": FILE_PARTS,
            },
        )
        return [row[0] for row in await cursor.fetchall()]

    async def finish(self, source: UUID, target: UUID, position: int) -> None:
        """Count what was copied, and remember where it is from."""
        await self._connection.execute(
            """
            WITH copied AS (
                SELECT coalesce(sum(tokens), 0) AS tokens, coalesce(max(covers_to), 0) AS covered
                FROM context_items WHERE context_id = %(target)s
            ), summed AS (
                SELECT least(copied.covered, o.compacted_to) AS compacted_to FROM copied, contexts AS o WHERE o.id = %(source)s
            )
            UPDATE contexts SET forked_from = %(source)s, forked_at = %(position)s, item_count = %(position)s, token_count = copied.tokens,
                compacted_to = summed.compacted_to, pending_tokens = (
                    SELECT coalesce(sum(tokens), 0) FROM context_items
                    WHERE context_id = %(target)s AND covers_to IS NULL AND position > summed.compacted_to)
            FROM copied, summed WHERE id = %(target)s
            """,
            {"source": source, "target": target, "position": position},
        )

"""How far contexts are summed up, and who is at it."""

from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row


@dataclass(frozen=True, slots=True)
class Progress:
    """`last` is the last position to sum up now; None: there is nothing to do."""

    compacted_to: int
    last: int | None


class Compactions:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def request(self, context_id: UUID, compaction_id: UUID, above: int) -> bool:
        """Make `compaction_id` the one that sums the context up, where nobody does and more than `above` tokens wait, or its own limit.

        One that was begun more than an hour ago has died with its message.
        """
        cursor = await self._connection.execute(
            """
            UPDATE contexts SET compaction_id = %s
            WHERE id = %s AND pending_tokens > coalesce(compact_above, %s)
                AND (compaction_id IS NULL OR compaction_id < uuid_floor(now() - interval '1 hour'))
            """,
            (compaction_id, context_id, above),
        )
        return cursor.rowcount == 1

    async def take_over(self, context_id: UUID, compaction_id: UUID) -> None:
        """Make `compaction_id` the one that sums the context up, whoever did before."""
        await self._connection.execute(
            "UPDATE contexts SET compaction_id = %s WHERE id = %s", (compaction_id, context_id)
        )

    async def take_up(self, context_id: UUID, compaction_id: UUID) -> None:
        """Make `compaction_id` the one that sums the context up again, where nobody else does."""
        await self._connection.execute(
            "UPDATE contexts SET compaction_id = %s WHERE id = %s AND compaction_id IS NULL",
            (compaction_id, context_id),
        )

    async def progress(self, context_id: UUID, keep_tokens: int, span_tokens: int) -> Progress:
        """What to sum up next: items of about `span_tokens`, none of the latest that make up `keep_tokens`."""
        async with self._connection.cursor(row_factory=class_row(Progress)) as cursor:
            await cursor.execute(
                """
                WITH waiting AS (
                    SELECT i.position, i.covers_to IS NOT NULL AS summary,
                           sum(i.tokens) FILTER (WHERE i.covers_to IS NULL) OVER later AS later,
                           sum(i.tokens) FILTER (WHERE i.covers_to IS NULL) OVER earlier AS earlier
                    FROM contexts AS c JOIN context_items AS i ON i.context_id = c.id AND i.position > c.compacted_to
                    WHERE c.id = %(context)s
                    WINDOW later AS (ORDER BY i.position DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
                           earlier AS (ORDER BY i.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                )
                SELECT compacted_to, (
                    SELECT max(position) FROM waiting
                    WHERE NOT summary AND coalesce(later, 0) >= %(keep)s AND coalesce(earlier, 0) < %(span)s) AS last
                FROM contexts WHERE id = %(context)s
                """,
                {"context": context_id, "keep": keep_tokens, "span": span_tokens},
            )
            found = await cursor.fetchone()
        return found or Progress(0, None)

    async def advance(self, context_id: UUID, compaction_id: UUID, seen: int, to: int) -> bool:
        """Note that the items behind `seen` up to `to` are summed up; False, and nothing is noted, where another was faster."""
        cursor = await self._connection.execute(
            """
            UPDATE contexts SET compacted_to = %(to)s, pending_tokens = pending_tokens - (
                SELECT coalesce(sum(tokens), 0) FROM context_items
                WHERE context_id = %(context)s AND position > %(seen)s AND position <= %(to)s AND covers_to IS NULL)
            WHERE id = %(context)s AND compacted_to = %(seen)s AND compaction_id = %(compaction)s
            """,
            {"context": context_id, "compaction": compaction_id, "seen": seen, "to": to},
        )
        return cursor.rowcount == 1

    async def hold(self, context_id: UUID, compaction_id: UUID) -> bool:
        """Lock the context for this transaction; whether `compaction_id` is still the one that sums it up."""
        cursor = await self._connection.execute(
            "SELECT FROM contexts WHERE id = %s AND compaction_id = %s FOR UPDATE",
            (context_id, compaction_id),
        )
        return await cursor.fetchone() is not None

    async def end(self, context_id: UUID, compaction_id: UUID) -> None:
        """Note that the compaction is done, unless another has taken over."""
        await self._connection.execute(
            "UPDATE contexts SET compaction_id = NULL WHERE id = %s AND compaction_id = %s",
            (context_id, compaction_id),
        )

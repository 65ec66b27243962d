"""Dead letters: what the queues gave up, until it is redriven, purged or too old."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from devops_mcp.models.dead_letters import DeadLetter, DeadLetterSummary
from devops_mcp.models.pages import Order
from devops_mcp.repositories.connection import Asked, Connection
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class DeadLetters:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, letters: Sequence[DeadLetter]) -> None:
        """File letters. A message has one in a queue: where it died before, that one keeps its id and takes the newer account."""
        async with self._connection.cursor() as cursor:
            await cursor.executemany(
                """
                INSERT INTO dead_letters (id, queue, message_id, type, body, reason, attempts, trace, died_at)
                VALUES (%(id)s, %(queue)s, %(message_id)s, %(type)s, %(body)s, %(reason)s, %(attempts)s, %(trace)s, %(died_at)s)
                ON CONFLICT (tenant_id, queue, message_id) DO UPDATE
                    SET reason = excluded.reason, attempts = excluded.attempts, trace = excluded.trace, died_at = excluded.died_at
                """,
                [letter.model_dump() for letter in letters],
            )

    async def page(self, queue: str | None, order: Order, limit: int) -> list[DeadLetterSummary]:
        """Of one queue, or of all."""
        async with self._connection.cursor(row_factory=class_row(DeadLetterSummary)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, queue, message_id, type, reason, attempts, trace, died_at FROM dead_letters
                WHERE (%(queue)s::text IS NULL OR queue = %(queue)s) AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order),
                    order=by(BY_AGE, order),
                ),
                {"queue": queue, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def find(self, letter_id: UUID) -> DeadLetter | None:
        async with self._connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
            await cursor.execute(
                """
                SELECT id, queue, message_id, type, body, reason, attempts, trace, died_at FROM dead_letters WHERE id = %s
                """,
                (letter_id,),
            )
            return await cursor.fetchone()

    async def oldest(self, queue: str, after: UUID | None, limit: int) -> list[DeadLetter]:
        """Oldest first, behind `after`."""
        async with self._connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
            await cursor.execute(
                """
                SELECT id, queue, message_id, type, body, reason, attempts, trace, died_at FROM dead_letters
                WHERE queue = %(queue)s AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s
                """,
                {"queue": queue, "after": after, "limit": limit},
            )
            return await cursor.fetchall()

    async def remove(self, ids: Sequence[UUID]) -> set[UUID]:
        """Remove letters; the ids of those that nobody had removed before."""
        cursor = await self._connection.execute(
            "DELETE FROM dead_letters WHERE id = ANY(%s) RETURNING id", (list(ids),)
        )
        return {row[0] for row in await cursor.fetchall()}

    def settle(self, queue: str, message_ids: Iterable[UUID]) -> Asked[int]:
        """Remove the letters of messages that this transaction has claimed, and so gives their effect; awaited, how many there were."""
        return self._connection.ask(
            "DELETE FROM dead_letters WHERE queue = %s AND message_id = ANY (%s::text[]) RETURNING id",
            (queue, f"{{{','.join(map(str, message_ids))}}}"),
            len,
        )

    async def purge(self, queue: str, limit: int) -> int:
        """Remove up to `limit` letters of a queue; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM dead_letters WHERE ctid = ANY (ARRAY(SELECT ctid FROM dead_letters WHERE queue = %s LIMIT %s))",
            (queue, limit),
        )
        return cursor.rowcount

    async def drop_older(self, than: datetime, limit: int) -> int:
        """Remove up to `limit` that died before; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM dead_letters WHERE ctid = ANY (ARRAY(SELECT ctid FROM dead_letters WHERE died_at < %s LIMIT %s))",
            (than, limit),
        )
        return cursor.rowcount

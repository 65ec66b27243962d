"""Which queue messages have had their effect."""

from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow


class ProcessedMessages:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def claim(self, consumer: str, message_ids: Sequence[UUID]) -> set[UUID]:
        """Mark messages as handled by `consumer`, and return those that were not before.

        Written in the transaction of the effect. A second transaction with the same message waits here for the first one's end.
        """
        cursor = await self._connection.execute(
            """
            INSERT INTO processed_messages (consumer, message_id)
            SELECT %s, id FROM unnest(%s::uuid[]) AS id ORDER BY id
            ON CONFLICT DO NOTHING RETURNING message_id
            """,
            (consumer, list(message_ids)),
        )
        return {row[0] for row in await cursor.fetchall()}

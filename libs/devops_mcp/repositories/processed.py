"""Which queue messages have had their effect."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from devops_mcp.repositories.connection import Asked, Connection
from devops_mcp.repositories.rows import uuids


class ProcessedMessages:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def claim(self, consumer: str, message_ids: Sequence[UUID]) -> Asked[set[UUID]]:
        """Mark messages as handled by `consumer`; awaited, those that were not before.

        Written in the transaction of the effect. A second transaction with the same message waits here for the first one's end.
        """
        return self._connection.ask(
            """
            INSERT INTO processed_messages (consumer, message_id)
            SELECT %s, id FROM unnest(%s::uuid[]) AS id ORDER BY id
            ON CONFLICT DO NOTHING RETURNING message_id
            """,
            (consumer, uuids(message_ids)),
            lambda rows: {row[0] for row in rows},
        )

    async def unprocessed(self, consumer: str, message_ids: Sequence[UUID]) -> set[UUID]:
        """Those that have had no effect, and are given none until the transaction ends: who would claim one waits for that."""
        claimed = await self.claim(consumer, message_ids)
        # Others wait for a row of a transaction under way, also once it is removed again.
        await self._connection.execute(
            "DELETE FROM processed_messages WHERE consumer = %s AND message_id = ANY (%s::uuid[])",
            (consumer, uuids(claimed)),
        )
        return claimed

    async def known(self, consumer: str, message_id: UUID) -> bool:
        """Whether the message has had its effect; for one whose effect begins outside the database."""
        cursor = await self._connection.execute(
            "SELECT FROM processed_messages WHERE consumer = %s AND message_id = %s", (consumer, message_id)
        )
        return await cursor.fetchone() is not None

    async def among(self, consumer: str, message_ids: Sequence[str]) -> set[str]:
        """Those that have had their effect; what is no UUID has had none."""
        cursor = await self._connection.execute(
            """
            SELECT message_id::text FROM processed_messages
            WHERE consumer = %s AND message_id = ANY (ARRAY(
                SELECT id::uuid FROM unnest(%s::text[]) AS id WHERE pg_input_is_valid(id, 'uuid')))
            """,
            (consumer, list(message_ids)),
        )
        return {row[0] for row in await cursor.fetchall()}

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` rows that are older; their messages must be gone from the queue and its dead letters by then."""
        cursor = await self._connection.execute(
            """
            DELETE FROM processed_messages WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM processed_messages WHERE processed_at < %s LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount

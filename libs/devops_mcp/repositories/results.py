"""Results kept whole for a reader who was shown a part."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.results import KeptResult


class KeptResults:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def keep(self, result: KeptResult) -> None:
        await self._connection.execute(
            """
            INSERT INTO kept_results (id, owner_id, tool, body, created_at, expires_at)
            VALUES (%(id)s, %(owner_id)s, %(tool)s, %(body)s, %(created_at)s, %(expires_at)s)
            """,
            result.model_dump(),
        )

    async def find(self, result_id: UUID, owner_id: UUID, now: datetime) -> KeptResult | None:
        """The result, unless it belongs to somebody else or has expired."""
        async with self._connection.cursor(row_factory=class_row(KeptResult)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, owner_id, tool, body, created_at, expires_at
                FROM kept_results WHERE id = %s AND owner_id = %s AND expires_at > %s
                """,
                (result_id, owner_id, now),
            )
            return await cursor.fetchone()

    async def drop_expired(self, now: datetime, limit: int) -> int:
        """Remove up to `limit` whose time is over, and what they are found by; how many."""
        cursor = await self._connection.execute(
            """
            WITH gone AS (
                DELETE FROM kept_results WHERE ctid = ANY (ARRAY(
                    SELECT ctid FROM kept_results WHERE expires_at <= %s LIMIT %s)) RETURNING id
            ), forgotten AS (
                DELETE FROM passages WHERE kind = 'result' AND source_id IN (SELECT id FROM gone)
            )
            SELECT count(*) FROM gone
            """,
            (now, limit),
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

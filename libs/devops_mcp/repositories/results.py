"""Results kept whole for a reader who was shown a part."""

from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from devops_mcp.models.results import KeptResult
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.outbox import Posting


class KeptResults:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def keep(self, result: KeptResult, posting: Posting | None = None) -> None:
        """Keep the result and publish what is said of it, in one statement."""
        self._connection.carries(len(result.body))
        await self._connection.execute(
            """
            WITH kept AS (
                INSERT INTO kept_results (id, owner_id, tool, body, created_at, expires_at)
                VALUES (%(id)s, %(owner_id)s, %(tool)s, %(body)s, %(created_at)s, %(expires_at)s)
            ), posted AS (
                INSERT INTO outbox (id, queue, message, trace)
                SELECT %(posting)s, %(queue)s, %(message)s, %(trace)s WHERE %(posting)s::uuid IS NOT NULL
            )
            SELECT CASE WHEN %(posting)s::uuid IS NOT NULL THEN pg_notify('outbox', '') END
            """,
            {
                **result.model_dump(),
                "posting": posting and posting.id,
                "queue": posting and posting.queue,
                "message": posting and posting.message,
                "trace": posting and posting.trace,
            },
        )

    async def hold(self, result_id: UUID) -> KeptResult | None:
        """A result that has not expired, which nobody removes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(KeptResult)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, owner_id, tool, body, created_at, expires_at
                FROM kept_results WHERE id = %s AND expires_at > now() FOR KEY SHARE
                """,
                (result_id,),
            )
            return self._carried(await cursor.fetchone())

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
            return self._carried(await cursor.fetchone())

    def _carried(self, found: KeptResult | None) -> KeptResult | None:
        if found is not None:
            self._connection.carries(len(found.body))
        return found

    async def drop_expired(self, now: datetime, limit: int) -> int:
        """Remove up to `limit` whose time is over, and what they are found by; how many. One that is held is left to the next time."""
        cursor = await self._connection.execute(
            "SELECT id FROM kept_results WHERE expires_at <= %s LIMIT %s FOR UPDATE SKIP LOCKED", (now, limit)
        )
        gone = [row[0] for row in await cursor.fetchall()]
        # By itself, so that it sees what was indexed until the results were locked.
        await self._connection.execute(
            """
            WITH forgotten AS (DELETE FROM passages WHERE kind = 'result' AND source_id = ANY (%(gone)s))
            DELETE FROM kept_results WHERE id = ANY (%(gone)s)
            """,
            {"gone": gone},
        )
        return len(gone)

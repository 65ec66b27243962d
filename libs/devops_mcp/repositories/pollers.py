"""Where pollers have got to. All times are the database's, so that workers need not agree on theirs."""

from datetime import datetime, timedelta

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.base import JsonObject
from devops_mcp.models.polling import PollerKey, PollerState, Turn

_STATE = sql.SQL("""
    integration, poller, begun_at, ok_at, next_at, failures, error_code, error, events, created_at,
    greatest(next_at, coalesce(lease_until, next_at)) - now() AS due_in
""")


class Pollers:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def claim(self, key: PollerKey, place: str, lease: timedelta) -> Turn | None:
        """Take the next turn; None when it is not due, another has it, or the tenant is suspended or unknown.

        Its cursor is empty where the last turn led to another place.
        """
        async with self._connection.cursor(row_factory=class_row(Turn)) as cursor:
            await cursor.execute(
                """
                INSERT INTO pollers (integration, poller, place, fence, lease_until, begun_at)
                SELECT %(integration)s, %(poller)s, %(place)s, 1, now() + %(lease)s, now()
                FROM tenants WHERE tenant_id = current_tenant() AND suspended_at IS NULL
                ON CONFLICT (tenant_id, integration, poller) DO UPDATE
                    SET fence = pollers.fence + 1, lease_until = now() + %(lease)s, begun_at = now(), place = excluded.place,
                        cursor = CASE WHEN pollers.place = excluded.place THEN pollers.cursor ELSE '{}' END
                    WHERE pollers.next_at <= now() AND (pollers.lease_until IS NULL OR pollers.lease_until <= now())
                RETURNING fence, cursor, failures
                """,
                {**key._asdict(), "place": place, "lease": lease},
            )
            return await cursor.fetchone()

    async def finish(self, key: PollerKey, fence: int, cursor: JsonObject, wait: timedelta) -> bool:
        """Move the cursor, and wait until the next turn; False, and then nothing must be stored, when the turn is no longer ours.

        Nor is it when the tenant was suspended meanwhile.
        """
        done = await self._connection.execute(
            """
            UPDATE pollers SET cursor = %(cursor)s, lease_until = NULL, next_at = now() + %(wait)s, ok_at = now(), failures = 0,
                               error_code = NULL, error = NULL
            WHERE integration = %(integration)s AND poller = %(poller)s AND fence = %(fence)s
                AND EXISTS (SELECT FROM tenants WHERE tenant_id = current_tenant() AND suspended_at IS NULL)
            """,
            {**key._asdict(), "fence": fence, "cursor": Jsonb(cursor), "wait": wait},
        )
        return done.rowcount == 1

    async def count(self, key: PollerKey, events: int) -> None:
        """So many more were found."""
        await self._connection.execute(
            "UPDATE pollers SET events = events + %s WHERE integration = %s AND poller = %s", (events, *key)
        )

    async def fail(self, key: PollerKey, fence: int, error_code: str, error: str, wait: timedelta) -> None:
        """Leave the cursor where it is, and try again after `wait`; nothing, where the turn is no longer ours."""
        await self._connection.execute(
            """
            UPDATE pollers SET lease_until = NULL, next_at = now() + %(wait)s, failures = failures + 1, error_code = %(error_code)s,
                               error = %(error)s
            WHERE integration = %(integration)s AND poller = %(poller)s AND fence = %(fence)s
            """,
            {**key._asdict(), "fence": fence, "error_code": error_code, "error": error, "wait": wait},
        )

    async def release(self, key: PollerKey, fence: int) -> None:
        """Let another worker take the turn at once."""
        await self._connection.execute(
            "UPDATE pollers SET lease_until = NULL WHERE integration = %s AND poller = %s AND fence = %s",
            (*key, fence),
        )

    async def drop_older(self, than: datetime, limit: int) -> int:
        """Forget up to `limit` that began to look before, and never since; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM pollers WHERE ctid = ANY (ARRAY(SELECT ctid FROM pollers WHERE begun_at < %s LIMIT %s))",
            (than, limit),
        )
        return cursor.rowcount

    async def find(self, key: PollerKey) -> PollerState | None:
        async with self._connection.cursor(row_factory=class_row(PollerState)) as cursor:
            await cursor.execute(
                sql.SQL("SELECT {state} FROM pollers WHERE integration = %s AND poller = %s").format(
                    state=_STATE
                ),
                (*key,),
            )
            return await cursor.fetchone()

    async def states(self) -> list[PollerState]:
        """All of the tenant's, those of integrations that are gone too."""
        async with self._connection.cursor(row_factory=class_row(PollerState)) as cursor:
            await cursor.execute(
                sql.SQL("SELECT {state} FROM pollers ORDER BY integration, poller").format(state=_STATE)
            )
            return await cursor.fetchall()

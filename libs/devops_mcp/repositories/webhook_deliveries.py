"""Deliveries of outgoing webhooks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import Order
from devops_mcp.models.webhooks import DeliveryStatus, WebhookDelivery
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of

_COLUMNS = sql.SQL("""
    id, endpoint_id, event_id, replay_id, status, attempts, next_at, last_at, last_status, last_error, last_duration_ms, created_at
""")


class WebhookDeliveries:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def create(
        self, pairs: Sequence[tuple[UUID, UUID]], replay_id: UUID | None = None
    ) -> list[WebhookDelivery]:
        """A delivery for each endpoint and event, in this order, that has none yet of this replay; only the new ones are returned.

        None: not of a replay, but because the event has just happened. Each waits for a message of the same id as its own.
        """
        async with self._connection.cursor(row_factory=class_row(WebhookDelivery)) as cursor:
            await cursor.execute(
                sql.SQL("""
                INSERT INTO webhook_deliveries (id, endpoint_id, event_id, replay_id, next_at, message_id)
                SELECT p.id, p.endpoint_id, p.event_id, %s, now(), p.id
                FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS p (id, endpoint_id, event_id)
                ON CONFLICT DO NOTHING RETURNING {columns}
                """).format(columns=_COLUMNS),
                (
                    replay_id,
                    [new_id() for _ in pairs],
                    [endpoint_id for endpoint_id, _ in pairs],
                    [event_id for _, event_id in pairs],
                ),
            )
            return await cursor.fetchall()

    async def pending_of(self, replay_id: UUID) -> int:
        """How many of the replay's are still on their way."""
        cursor = await self._connection.execute(
            "SELECT count(*) FROM webhook_deliveries WHERE replay_id = %s AND status = 'pending'",
            (replay_id,),
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def find(self, delivery_id: UUID) -> WebhookDelivery | None:
        return await self._one(
            sql.SQL("SELECT {columns} FROM webhook_deliveries WHERE id = %(id)s").format(columns=_COLUMNS),
            {"id": delivery_id},
        )

    async def page(
        self, endpoint_id: UUID, status: DeliveryStatus | None, order: Order, limit: int
    ) -> list[WebhookDelivery]:
        """An endpoint's."""
        async with self._connection.cursor(row_factory=class_row(WebhookDelivery)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM webhook_deliveries
                WHERE endpoint_id = %(endpoint_id)s AND (%(status)s::text IS NULL OR status = %(status)s)
                    AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """).format(
                    columns=_COLUMNS,
                    behind=sql.SQL(behind(BY_AGE, order)),
                    order=sql.SQL(by(BY_AGE, order)),
                ),
                {"endpoint_id": endpoint_id, "status": status, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def begin_again(
        self, endpoint_id: UUID, delivery_id: UUID, message_id: UUID
    ) -> WebhookDelivery | None:
        """Let an ended delivery be tried by this message as if it were new; None when there is no such, or it is still on its way."""
        return await self._one(
            sql.SQL("""
            UPDATE webhook_deliveries SET status = 'pending', attempts = 0, next_at = now(), message_id = %(message_id)s
            WHERE id = %(id)s AND endpoint_id = %(endpoint_id)s AND status <> 'pending' RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": delivery_id, "endpoint_id": endpoint_id, "message_id": message_id},
        )

    async def wait_for(self, delivery_id: UUID, message_id: UUID) -> None:
        """From here on it waits for another message."""
        await self._connection.execute(
            "UPDATE webhook_deliveries SET message_id = %s WHERE id = %s", (message_id, delivery_id)
        )

    async def postpone(self, delivery_id: UUID, until: datetime) -> None:
        """Nothing was tried; the next attempt is then."""
        await self._connection.execute(
            "UPDATE webhook_deliveries SET next_at = %s WHERE id = %s AND status = 'pending'",
            (until, delivery_id),
        )

    async def end(self, delivery_id: UUID, error: str) -> None:
        """Given up without an attempt."""
        await self._connection.execute(
            """
            UPDATE webhook_deliveries SET status = 'failed', next_at = NULL, last_error = %s WHERE id = %s AND status = 'pending'
            """,
            (error, delivery_id),
        )

    async def die(self, delivery_id: UUID, message_id: UUID, error: str) -> None:
        """Given up with its message, unless it waits for another."""
        await self._connection.execute(
            """
            UPDATE webhook_deliveries SET status = 'failed', next_at = NULL, last_error = %(error)s, message_id = %(message)s
            WHERE id = %(id)s AND status = 'pending' AND coalesce(message_id, %(message)s) = %(message)s
            """,
            {"id": delivery_id, "message": message_id, "error": error},
        )

    async def revive(self, delivery_id: UUID, message_id: UUID) -> None:
        """Let one that was given up with this message go on with its attempts."""
        cursor = await self._connection.execute(
            """
            UPDATE webhook_deliveries SET status = 'pending', next_at = now()
            WHERE id = %(id)s AND status = 'failed' AND coalesce(message_id, %(message)s) = %(message)s
            """,
            {"id": delivery_id, "message": message_id},
        )
        if cursor.rowcount:
            await self.wait_for(delivery_id, message_id)

    async def attempted(
        self,
        delivery_id: UUID,
        *,
        status: DeliveryStatus,
        next_at: datetime | None,
        at: datetime,
        answered: int | None,
        error: str | None,
        duration_ms: float,
    ) -> None:
        """Write down an attempt and what becomes of the delivery."""
        await self._connection.execute(
            """
            UPDATE webhook_deliveries SET status = %(status)s, attempts = attempts + 1, next_at = %(next_at)s, last_at = %(at)s,
                last_status = %(answered)s, last_error = %(error)s, last_duration_ms = %(duration_ms)s
            WHERE id = %(id)s AND status = 'pending'
            """,
            {
                "id": delivery_id,
                "status": status,
                "next_at": next_at,
                "at": at,
                "answered": answered,
                "error": error,
                "duration_ms": duration_ms,
            },
        )

    async def drop_deserted(self, limit: int) -> int:
        """Remove up to `limit` whose endpoint has been deleted; how many. Looks once for each endpoint that there are any of."""
        cursor = await self._connection.execute(
            """
            WITH RECURSIVE addressed AS (
                (SELECT endpoint_id FROM webhook_deliveries ORDER BY endpoint_id LIMIT 1)
                UNION ALL
                SELECT (SELECT d.endpoint_id FROM webhook_deliveries AS d
                        WHERE d.endpoint_id > a.endpoint_id ORDER BY d.endpoint_id LIMIT 1)
                FROM addressed AS a WHERE a.endpoint_id IS NOT NULL
            ), deserted AS (
                SELECT endpoint_id FROM addressed AS a
                WHERE endpoint_id IS NOT NULL AND NOT EXISTS (SELECT FROM webhook_endpoints AS e WHERE e.id = a.endpoint_id)
            )
            DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
                SELECT d.ctid FROM deserted JOIN webhook_deliveries AS d USING (endpoint_id) LIMIT %s))
            """,
            (limit,),
        )
        return cursor.rowcount

    async def drop_older(self, than: datetime, limit: int) -> int:
        """Remove up to `limit` of before that have ended; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM webhook_deliveries WHERE created_at < %s AND status <> 'pending' LIMIT %s))
            """,
            (than, limit),
        )
        return cursor.rowcount

    async def _one(self, query: sql.Composed, values: Mapping[str, object]) -> WebhookDelivery | None:
        async with self._connection.cursor(row_factory=class_row(WebhookDelivery)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()

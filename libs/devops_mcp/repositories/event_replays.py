"""Replays of stored events, and how far they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection, errors, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.errors import Conflict
from devops_mcp.models.pages import Order
from devops_mcp.models.replays import Replay, ReplayDraft
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of

_COLUMNS = sql.SQL(
    "id, requested_by, events, consumer, endpoint_id, status, total, done, error, created_at, updated_at, finished_at"
)


@dataclass(frozen=True, slots=True)
class NewReplay:
    """A replay that is to begin; `total` is how many events it has."""

    id: UUID
    requested_by: UUID
    draft: ReplayDraft
    total: int


class EventReplays:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, replay: NewReplay) -> Replay:
        """Raises `Conflict` while another replay to the same consumer runs."""
        try:
            added = await self._one(
                sql.SQL("""
                INSERT INTO event_replays (id, requested_by, events, consumer, endpoint_id, total)
                VALUES (%(id)s, %(requested_by)s, %(events)s, %(consumer)s, %(endpoint_id)s, %(total)s) RETURNING {columns}
                """).format(columns=_COLUMNS),
                {
                    "id": replay.id,
                    "requested_by": replay.requested_by,
                    "events": Jsonb(replay.draft.events.model_dump(mode="json")),
                    "consumer": replay.draft.consumer,
                    "endpoint_id": replay.draft.endpoint_id,
                    "total": replay.total,
                },
            )
        except errors.UniqueViolation:
            raise Conflict("another replay to this consumer is running; wait for it, or cancel it") from None
        assert added is not None
        return added

    async def find(self, replay_id: UUID) -> Replay | None:
        return await self._one(
            sql.SQL("SELECT {columns} FROM event_replays WHERE id = %(id)s").format(columns=_COLUMNS),
            {"id": replay_id},
        )

    async def page(self, order: Order, limit: int) -> list[Replay]:
        async with self._connection.cursor(row_factory=class_row(Replay)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM event_replays WHERE {behind} ORDER BY {order} LIMIT %(limit)s
                """).format(
                    columns=_COLUMNS,
                    behind=sql.SQL(behind(BY_AGE, order)),
                    order=sql.SQL(by(BY_AGE, order)),
                ),
                {**values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def lock(self, replay_id: UUID) -> tuple[Replay, UUID] | None:
        """The replay while it runs, which nobody else moves until this transaction ends, and the last event that it handed on."""
        replay = await self._one(
            sql.SQL(
                "SELECT {columns} FROM event_replays WHERE id = %(id)s AND status = 'running' FOR UPDATE"
            ).format(columns=_COLUMNS),
            {"id": replay_id},
        )
        if replay is None:
            return None
        cursor = await self._connection.execute(
            "SELECT position FROM event_replays WHERE id = %s", (replay_id,)
        )
        row = await cursor.fetchone()
        assert row is not None, "its row is locked"
        return replay, row[0]

    async def advance(self, replay_id: UUID, position: UUID, count: int) -> None:
        """`count` more have been handed on, the last of which is `position`."""
        await self._connection.execute(
            "UPDATE event_replays SET position = %s, done = done + %s, updated_at = now() WHERE id = %s",
            (position, count, replay_id),
        )

    async def end(self, replay_id: UUID, status: str, error: str | None = None) -> Replay | None:
        """End it; None when it does not run."""
        return await self._one(
            sql.SQL("""
            UPDATE event_replays SET status = %(status)s, error = %(error)s, updated_at = now(), finished_at = now()
            WHERE id = %(id)s AND status = 'running' RETURNING {columns}
            """).format(columns=_COLUMNS),
            {"id": replay_id, "status": status, "error": error},
        )

    async def begin_again(self, replay_id: UUID) -> None:
        """Let one that failed go on where it was, unless another replay to the same consumer runs."""
        await self._connection.execute(
            """
            UPDATE event_replays AS r SET status = 'running', error = NULL, updated_at = now(), finished_at = NULL
            WHERE id = %s AND status = 'failed' AND NOT EXISTS (
                SELECT FROM event_replays AS other WHERE other.status = 'running' AND other.consumer = r.consumer
                    AND other.endpoint_id IS NOT DISTINCT FROM r.endpoint_id)
            """,
            (replay_id,),
        )

    async def drop_older(self, than: datetime, limit: int) -> int:
        """Remove up to `limit` that finished before; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM event_replays WHERE ctid = ANY (ARRAY(SELECT ctid FROM event_replays WHERE finished_at < %s LIMIT %s))",
            (than, limit),
        )
        return cursor.rowcount

    async def _one(self, query: sql.Composed, values: Mapping[str, object]) -> Replay | None:
        async with self._connection.cursor(row_factory=class_row(Replay)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()

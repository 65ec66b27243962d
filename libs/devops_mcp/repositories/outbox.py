"""What must be published: written in the transaction that caused it, taken by the relay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.events.messages import MESSAGE, Message, group_in
from devops_mcp.events.queues import QueueName

OUTBOX_CHANNEL = "outbox"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message to publish; `trace` is the traceparent of what caused it. In a group, `place` says which comes before which."""

    tenant_id: UUID
    id: UUID
    queue: str
    message: str
    trace: str | None
    group_id: UUID | None
    place: int


@dataclass(frozen=True, slots=True)
class Posting:
    """A message as it was written before, to be published as it is."""

    id: UUID
    queue: QueueName
    message: str
    trace: str | None
    group_id: UUID | None = None
    """See `group_in`."""


class Outbox:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(
        self,
        queue: QueueName,
        message: Message,
        *,
        trace: str | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Publish `message` once this transaction commits, or at `due_at`; the relay is woken at the commit.

        In a queue that keeps order, what is added later to its group waits until it is published.
        """
        group_id = group_in(queue, message)
        if group_id is not None:
            await self._lock([group_id])
        await self._connection.execute(
            """
            WITH added AS (
                INSERT INTO outbox (id, queue, message, trace, due_at, group_id)
                VALUES (%s, %s, %s, %s, coalesce(%s, now()), %s)
            )
            SELECT pg_notify('outbox', '')
            """,
            (message.id, queue, MESSAGE.dump_json(message).decode(), trace, due_at, group_id),
        )

    async def post(self, postings: Sequence[Posting]) -> None:
        """Publish messages again, those of a group in this order; one that still waits to be published is not doubled."""
        await self._lock({posting.group_id for posting in postings if posting.group_id is not None})
        await self._connection.execute(
            """
            WITH added AS (
                INSERT INTO outbox (id, queue, message, trace, group_id)
                SELECT id, queue, message, trace, group_id
                FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::uuid[]) WITH ORDINALITY
                    AS p (id, queue, message, trace, group_id, n) ORDER BY n
                ON CONFLICT DO NOTHING
            )
            SELECT pg_notify('outbox', '')
            """,
            (
                [posting.id for posting in postings],
                [posting.queue for posting in postings],
                [posting.message for posting in postings],
                [posting.trace for posting in postings],
                [posting.group_id for posting in postings],
            ),
        )

    async def _lock(self, groups: Collection[UUID]) -> None:
        """Let nobody else draw a place in these groups until this transaction ends."""
        for group_id in sorted(groups):  # in one order, or two could wait for each other
            await self._connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('outbox ' || %s, 0))", (str(group_id),)
            )


class Relay:
    """The outbox of all tenants, as the relay takes it."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def take(self, limit: int, *, without: Collection[str] = ()) -> list[OutboxRow]:
        """The rows that have been due for longest and that no other relay holds, locked until the end of the transaction.

        Of a group only the first: what comes after it is there once this one was removed, and until then nobody may publish it. Those for
        the queues `without` are passed over.
        """
        async with self._connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
            await cursor.execute(
                """
                SELECT tenant_id, id, queue, message, trace, group_id, place FROM outbox AS o
                WHERE due_at <= now() AND queue <> ALL (%s) AND (group_id IS NULL OR NOT EXISTS (
                    SELECT FROM outbox AS earlier
                    WHERE (earlier.tenant_id, earlier.queue, earlier.group_id) = (o.tenant_id, o.queue, o.group_id)
                        AND earlier.place < o.place))
                ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED
                """,
                (list(without), limit),
            )
            return await cursor.fetchall()

    async def remove(self, ids: Sequence[UUID]) -> None:
        """Forget rows that have been published."""
        await self._connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", (list(ids),))

    async def pending(self) -> int:
        """Rows that are due."""
        cursor = await self._connection.execute("SELECT count(*) FROM outbox WHERE due_at <= now()")
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

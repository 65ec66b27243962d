"""What must be published: written in the transaction that caused it, taken by the relay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.events.messages import MESSAGE, Message
from devops_mcp.events.queues import QueueName

OUTBOX_CHANNEL = "outbox"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One message to publish; `trace` is the traceparent of what caused it."""

    tenant_id: UUID
    id: UUID
    queue: str
    message: str
    trace: str | None


@dataclass(frozen=True, slots=True)
class Posting:
    """A message as it was written before, to be published as it is."""

    id: UUID
    queue: QueueName
    message: str
    trace: str | None


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
        """Publish `message` once this transaction commits, or at `due_at`; the relay is woken at the commit."""
        await self._connection.execute(
            """
            WITH added AS (
                INSERT INTO outbox (id, queue, message, trace, due_at) VALUES (%s, %s, %s, %s, coalesce(%s, now()))
            )
            SELECT pg_notify('outbox', '')
            """,
            (message.id, queue, MESSAGE.dump_json(message).decode(), trace, due_at),
        )

    async def post(self, postings: Sequence[Posting]) -> None:
        """Publish messages again; one that still waits to be published is not doubled."""
        await self._connection.execute(
            """
            WITH added AS (
                INSERT INTO outbox (id, queue, message, trace)
                SELECT DISTINCT ON (id) id, queue, message, trace
                FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[]) AS p (id, queue, message, trace)
                ON CONFLICT DO NOTHING
            )
            SELECT pg_notify('outbox', '')
            """,
            (
                [posting.id for posting in postings],
                [posting.queue for posting in postings],
                [posting.message for posting in postings],
                [posting.trace for posting in postings],
            ),
        )


class Relay:
    """The outbox of all tenants, as the relay takes it."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def take(self, limit: int, *, without: Collection[str] = ()) -> list[OutboxRow]:
        """The rows that have been due for longest and that no other relay holds, locked until the end of the transaction.

        Those for the queues `without` are passed over.
        """
        async with self._connection.cursor(row_factory=class_row(OutboxRow)) as cursor:
            await cursor.execute(
                """
                SELECT tenant_id, id, queue, message, trace FROM outbox WHERE due_at <= now() AND queue <> ALL (%s)
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

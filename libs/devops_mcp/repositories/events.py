"""Events: accepted once, read by id, subject and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from devops_mcp.events.messages import MESSAGE, EventReceived
from devops_mcp.events.model import EVENT, Event
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import OWN_SYSTEM


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with the traceparent of what brought it, and when it was processed."""

    event: Event
    trace: str | None
    received_at: datetime
    processed_at: datetime | None


class Events:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def accept(
        self,
        events: Sequence[Event],
        *,
        keys: Sequence[str],
        payload: bytes,
        messages: Sequence[EventReceived],
        trace: str | None,
    ) -> bool:
        """Store the events of one delivery and put their messages into the outbox, in one statement.

        False, and nothing is stored, when the source has delivered one of `keys` before; a delivery under way elsewhere is waited for.
        All events have the same source; `messages` are one for each event.
        """
        cursor = await self._connection.execute(
            """
            WITH fresh AS (
                INSERT INTO delivery_keys (source, key) SELECT %(source)s, key FROM unnest(%(keys)s::text[]) AS key ORDER BY key
                ON CONFLICT DO NOTHING RETURNING key
            ), accepted AS (
                SELECT FROM fresh HAVING count(*) = cardinality(%(keys)s::text[])
            ), stored AS (
                INSERT INTO events (id, type, system, source, subject, event, delivery_id, payload, trace)
                SELECT e.id, e.type, e.system, %(source)s, e.subject, e.event, %(delivery_id)s,
                       CASE WHEN e.id = %(delivery_id)s THEN %(payload)s::bytea END, %(trace)s
                FROM accepted, unnest(%(ids)s::uuid[], %(types)s::text[], %(systems)s::text[], %(subjects)s::text[], %(events)s::jsonb[])
                     AS e (id, type, system, subject, event)
            ), queued AS (
                INSERT INTO outbox (id, queue, message, trace)
                SELECT m.id, %(queue)s, m.message, %(trace)s
                FROM accepted, unnest(%(message_ids)s::uuid[], %(messages)s::text[]) AS m (id, message)
            )
            SELECT pg_notify('outbox', '') FROM accepted
            """,
            {
                "source": events[0].source,
                "keys": list(keys),
                "delivery_id": events[0].id,
                "payload": payload,
                "trace": trace,
                "ids": [event.id for event in events],
                "types": [event.type for event in events],
                "systems": [event.system for event in events],
                "subjects": [event.subject for event in events],
                "events": [EVENT.dump_json(event).decode() for event in events],
                "queue": QueueName.EVENTS,
                "message_ids": [message.id for message in messages],
                "messages": [MESSAGE.dump_json(message).decode() for message in messages],
            },
        )
        return await cursor.fetchone() is not None

    async def publish(self, events: Sequence[Event], traces: Sequence[str | None]) -> None:
        """Store events of our own, and put a message of the same id for each into the outbox. Those there already are left as they are."""
        messages = [EventReceived(id=e.id, tenant_id=e.tenant_id, event_id=e.id) for e in events]
        await self._connection.execute(
            """
            WITH given AS (
                SELECT * FROM unnest(%(ids)s::uuid[], %(types)s::text[], %(systems)s::text[], %(sources)s::text[], %(subjects)s::text[],
                                     %(events)s::jsonb[], %(messages)s::text[], %(traces)s::text[])
                              AS e (id, type, system, source, subject, event, message, trace)
            ), stored AS (
                INSERT INTO events (id, type, system, source, subject, event, delivery_id, trace)
                SELECT id, type, system, source, subject, event, id, trace FROM given
                ON CONFLICT DO NOTHING RETURNING id
            ), queued AS (
                INSERT INTO outbox (id, queue, message, trace)
                SELECT id, %(queue)s, message, trace FROM given JOIN stored USING (id)
            )
            SELECT pg_notify('outbox', '') FROM (SELECT FROM stored LIMIT 1) AS any_of_them
            """,
            {
                "ids": [event.id for event in events],
                "types": [event.type for event in events],
                "systems": [event.system for event in events],
                "sources": [event.source for event in events],
                "subjects": [event.subject for event in events],
                "events": [EVENT.dump_json(event).decode() for event in events],
                "messages": [MESSAGE.dump_json(message).decode() for message in messages],
                "traces": list(traces),
                "queue": QueueName.EVENTS,
            },
        )

    async def find(self, event_ids: Sequence[UUID]) -> list[StoredEvent]:
        """The events with these ids, oldest first; ids that are not this tenant's are left out."""
        cursor = await self._connection.execute(
            "SELECT event, trace, received_at, processed_at FROM events WHERE id = ANY(%s) ORDER BY id",
            (list(event_ids),),
        )
        return [_stored(row) for row in await cursor.fetchall()]

    async def payload(self, event_id: UUID) -> bytes | None:
        """The vendor's own bytes that brought this event; None when there is no such event, or it is one of our own."""
        cursor = await self._connection.execute(
            "SELECT d.payload FROM events AS e JOIN events AS d ON d.id = e.delivery_id WHERE e.id = %s",
            (event_id,),
        )
        row = await cursor.fetchone()
        return bytes(row[0]) if row and row[0] is not None else None

    async def page(
        self, *, system: str | None, subject: str | None, type_: str | None, before: UUID | None, limit: int
    ) -> list[StoredEvent]:
        """Events, newest first, older than `before`, of this system, subject and type; None: any, of our own only where named."""
        cursor = await self._connection.execute(
            """
            SELECT event, trace, received_at, processed_at FROM events
            WHERE (%(system)s::text IS NULL OR system = %(system)s) AND (%(subject)s::text IS NULL OR subject = %(subject)s)
                AND (%(type)s::text IS NULL OR type = %(type)s)
                AND (%(system)s::text IS NOT NULL OR %(type)s::text IS NOT NULL OR system <> %(own)s)
                AND (%(before)s::uuid IS NULL OR id < %(before)s)
            ORDER BY id DESC LIMIT %(limit)s
            """,
            {
                "system": system,
                "subject": subject,
                "type": type_,
                "before": before,
                "limit": limit,
                "own": OWN_SYSTEM,
            },
        )
        return [_stored(row) for row in await cursor.fetchall()]

    async def processed_ids(self, since: datetime, limit: int) -> list[tuple[UUID, datetime]]:
        """Ids and times of the events processed at or after `since`, in that order: what a listener that was away has missed."""
        cursor = await self._connection.execute(
            "SELECT id, processed_at FROM events WHERE processed_at >= %s ORDER BY processed_at, id LIMIT %s",
            (since, limit),
        )
        return [(row[0], row[1]) for row in await cursor.fetchall()]

    async def clock(self) -> datetime:
        """The database's time now, by which `processed_at` is set."""
        cursor = await self._connection.execute("SELECT clock_timestamp()")
        row = await cursor.fetchone()
        assert row is not None
        return cast("datetime", row[0])

    async def mark_processed(self, event_ids: Sequence[UUID]) -> None:
        await self._connection.execute(
            "UPDATE events SET processed_at = clock_timestamp() WHERE id = ANY(%s)", (list(event_ids),)
        )


def _stored(row: TupleRow) -> StoredEvent:
    return StoredEvent(EVENT.validate_python(row[0]), row[1], row[2], row[3])

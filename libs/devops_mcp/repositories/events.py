"""Events: accepted once, read by id, subject and time."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson
from psycopg import sql
from psycopg.rows import TupleRow

from devops_mcp.events.messages import MESSAGE, EventReceived
from devops_mcp.events.model import EVENT, Event
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import OWN_SYSTEM
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import first_id_at, new_id
from devops_mcp.models.pages import NEWEST, Order
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.rows import uuids
from devops_mcp.repositories.sorting import BY_AGE, by

_FIRST_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)
_WANTED = sql.SQL("""
    id >= %(first)s AND id < %(end)s
    AND (%(system)s::text IS NULL OR system = %(system)s) AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(type)s::text IS NULL OR type = %(type)s)
    AND (%(begins)s::text IS NULL OR starts_with(type, %(begins)s))
    AND (%(with_our_own)s OR system <> %(own)s)
""")
"""A range of time is one of ids, so that months outside it are not looked at."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with the traceparent of what brought it, and when it was processed."""

    event: Event
    trace: str | None
    received_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A delivery to be stored. Its events have the same source; `keys`, one at least, are what a repetition of it is told by.

    `documents` are the events as JSON; `trace` is the traceparent of its request. A large payload is empty here and kept in `payload_blob`.
    `event_keys` are what single events of it are told by, where other deliveries tell of the same: one that its source has told before is
    left out.
    """

    events: Sequence[Event]
    documents: Sequence[bytes]
    keys: Sequence[str]
    payload: bytes
    trace: str | None
    payload_blob: UUID | None = None
    event_keys: Mapping[UUID, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, events: Sequence[Event], keys: Sequence[str], payload: bytes, trace: str | None = None
    ) -> "Acceptance":
        return cls(events, [EVENT.dump_json(event) for event in events], keys, payload, trace)


class Events:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def accept(self, delivery: Acceptance) -> bool:
        """Accept one delivery; whether it was new."""
        return bool(await self.accept_all([delivery]))

    async def accept_all(self, deliveries: Sequence[Acceptance]) -> dict[int, list[UUID]]:
        """Store the events of deliveries and put their messages into the outbox, in one statement; the ids stored, by position.

        Of a delivery whose source has delivered one of its keys before, nothing is stored; one under way elsewhere is waited for. No two
        of the given ones share a key of the delivery.
        """
        payloads = b"".join(delivery.payload for delivery in deliveries)
        self._connection.carries(len(payloads))
        cursor = await self._connection.execute(
            """
            WITH given AS MATERIALIZED (
                SELECT %(given)s::jsonb AS given
            ), keys AS (
                SELECT k.*, row_number() OVER (PARTITION BY source, key ORDER BY n) AS nth
                FROM given, jsonb_to_recordset(given -> 'keys') AS k (n integer, source text, key text, event uuid)
            ), fresh AS (
                INSERT INTO delivery_keys (source, key) SELECT source, key FROM keys WHERE nth = 1 ORDER BY source, key
                ON CONFLICT DO NOTHING RETURNING source, key
            ), accepted AS (
                SELECT n FROM keys LEFT JOIN fresh USING (source, key) WHERE event IS NULL
                GROUP BY n HAVING count(*) = count(fresh.key)
            ), told AS (
                SELECT event FROM keys LEFT JOIN fresh USING (source, key) WHERE event IS NOT NULL AND (fresh.key IS NULL OR nth > 1)
            ), deliveries AS (
                SELECT d.* FROM accepted JOIN (
                    SELECT r.* FROM given, jsonb_to_recordset(given -> 'deliveries')
                                           AS r (n integer, trace text, "start" integer, "size" integer, blob uuid)
                ) AS d USING (n)
            ), kept AS (
                SELECT e.*, d.trace, d.start, d.size, d.blob, first_value(e.id) OVER (PARTITION BY n ORDER BY e.nth) AS delivery_id
                FROM deliveries AS d JOIN (
                    SELECT r.* FROM given, jsonb_to_recordset(given -> 'events')
                                           AS r (n integer, nth integer, id uuid, type text, system text, source text, subject text,
                                                 event jsonb, message_id uuid, message text)
                ) AS e USING (n)
                WHERE e.id NOT IN (SELECT event FROM told)
            ), stored AS (
                INSERT INTO events (id, type, system, source, subject, event, delivery_id, payload, payload_blob, trace)
                SELECT id, type, system, source, subject, event, delivery_id,
                       CASE WHEN id = delivery_id AND blob IS NULL THEN substring(%(payloads)b::bytea FROM start FOR size) END,
                       CASE WHEN id = delivery_id THEN blob END, trace
                FROM kept
            ), queued AS (
                INSERT INTO outbox (id, queue, message, trace) SELECT message_id, %(queue)s, message, trace FROM kept
            )
            SELECT n, id, pg_notify('outbox', '') FROM kept ORDER BY n, nth
            """,
            {
                "given": _written(deliveries),
                "payloads": payloads,
                "queue": QueueName.EVENTS,
            },
        )
        stored: defaultdict[int, list[UUID]] = defaultdict(list)
        for n, id_, _ in await cursor.fetchall():
            stored[n].append(id_)
        return dict(stored)

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

    async def forget(self, before: datetime, limit: int) -> int:
        """Remove up to `limit` events that came before, a month ago or earlier; how many. Only the worker's role may."""
        cursor = await self._connection.execute("SELECT forget_events(%s, %s)", (before, limit))
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

    async def forget_keys(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` keys of deliveries that came before; one that is delivered again is then new. How many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM delivery_keys WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM delivery_keys WHERE created_at < %s LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount

    async def find(self, event_ids: Sequence[UUID]) -> list[StoredEvent]:
        """The events with these ids, oldest first; ids that are not this tenant's are left out."""
        cursor = await self._connection.execute(
            "SELECT event::text, trace, received_at, processed_at FROM events WHERE id = ANY(%s::uuid[]) ORDER BY id",
            (uuids(event_ids),),
        )
        return [_stored(row) for row in await cursor.fetchall()]

    async def payload(self, event_id: UUID) -> bytes | UUID | None:
        """The vendor's own bytes that brought this event, or the blob that holds them; None when there is no such event."""
        cursor = await self._connection.execute(
            "SELECT d.payload, d.payload_blob FROM events AS e JOIN events AS d ON d.id = e.delivery_id WHERE e.id = %s",
            (event_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        return cast("UUID", row[1]) if row[0] is None else bytes(row[0])

    async def page(self, wanted: EventsWanted, *, order: Order = NEWEST, limit: int) -> list[StoredEvent]:
        """Events in the order in which they were received, or the other way round."""
        cursor = await self._connection.execute(
            sql.SQL("""
            SELECT event::text, trace, received_at, processed_at FROM events WHERE {wanted} ORDER BY {order} LIMIT %(limit)s
            """).format(wanted=_WANTED, order=sql.SQL(by(BY_AGE, order))),
            {**_behind(_terms(wanted), order), "limit": limit},
        )
        return [_stored(row) for row in await cursor.fetchall()]

    async def count(self, wanted: EventsWanted, *, up_to: int) -> int:
        """How many there are; they are not counted any further than `up_to`."""
        cursor = await self._connection.execute(
            sql.SQL("""
            SELECT count(*) FROM (SELECT FROM events WHERE {wanted} LIMIT %(up_to)s) AS found
            """).format(wanted=_WANTED),
            {**_terms(wanted), "up_to": up_to},
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

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

    def mark_processed(self, event_ids: Sequence[UUID]) -> None:
        """With the next statement."""
        self._connection.defer(
            "UPDATE events SET processed_at = clock_timestamp() WHERE id = ANY(%s::uuid[])",
            (uuids(event_ids),),
        )


def _terms(wanted: EventsWanted) -> dict[str, Any]:
    """The values of `_WANTED`."""
    return {
        "first": first_id_at(wanted.since) if wanted.since else _FIRST_ID,
        "end": first_id_at(wanted.until) if wanted.until else _LAST_ID,
        "system": wanted.system,
        "source": wanted.source,
        "subject": wanted.subject,
        **_type_terms(wanted.type),
        "with_our_own": wanted.with_our_own,
        "own": OWN_SYSTEM,
    }


def _behind(terms: dict[str, Any], order: Order) -> dict[str, Any]:
    """The terms of those that come behind the order's position."""
    if order.after_id is None:
        return terms
    if order.descending:
        return {**terms, "end": min(order.after_id, terms["end"])}
    return {**terms, "first": max(UUID(int=order.after_id.int + 1), terms["first"])}


def _type_terms(type_: str | None) -> dict[str, str | None]:
    """The type as a whole, or what it begins with."""
    if type_ is not None and type_.endswith("*"):
        return {"type": None, "begins": type_.removesuffix("*")}
    return {"type": type_, "begins": None}


def _written(deliveries: Sequence[Acceptance]) -> str:
    """The deliveries without their payloads, as JSON: one parameter, where a list for each column costs ten times as much to encode."""
    parts: dict[str, list[dict[str, Any]]] = {"keys": [], "deliveries": [], "events": []}
    start = 1
    for n, delivery in enumerate(deliveries):
        size, source = len(delivery.payload), delivery.events[0].source
        told = {"n": n, "trace": delivery.trace, "start": start, "size": size, "blob": delivery.payload_blob}
        parts["deliveries"].append(told)
        parts["keys"] += [{"n": n, "source": source, "key": key} for key in delivery.keys]
        parts["keys"] += [
            {"n": n, "source": source, "key": key, "event": id_} for id_, key in delivery.event_keys.items()
        ]
        parts["events"] += _written_events(n, delivery)
        start += size
    return orjson.dumps(parts).decode()


def _written_events(n: int, delivery: Acceptance) -> Iterator[dict[str, Any]]:
    for nth, (event, document) in enumerate(zip(delivery.events, delivery.documents, strict=True)):
        message = EventReceived(id=new_id(), tenant_id=event.tenant_id, event_id=event.id)
        yield {
            "n": n,
            "nth": nth,
            "id": event.id,
            "type": event.type,
            "system": event.system,
            "source": event.source,
            "subject": event.subject,
            "event": orjson.Fragment(document),
            "message_id": message.id,
            "message": MESSAGE.dump_json(message).decode(),
        }


def _stored(row: TupleRow) -> StoredEvent:
    return StoredEvent(EVENT.validate_json(row[0]), row[1], row[2], row[3])

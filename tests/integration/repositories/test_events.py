"""Accepting events, against PostgreSQL."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import psycopg

from devops_mcp.events.model import ActivityRecorded
from devops_mcp.models.base import utc_now
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import DEFAULT_TENANT_ID, first_id_at, new_id
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.events import Acceptance

TENANT = DEFAULT_TENANT_ID


def an_event(subject: str = "acme/shop") -> ActivityRecorded:
    return ActivityRecorded(
        id=new_id(),
        tenant_id=TENANT,
        system="github",
        source="github",
        subject=subject,
        title="something happened",
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
        vendor_type="star",
    )


async def accept(database: Database, event: ActivityRecorded, *keys: str) -> bool:
    async with database.transaction(TENANT) as tx:
        return await tx.events.accept(Acceptance.of([event], keys, b"{}"))


async def test_a_delivery_is_stored_with_its_payload_and_queued(database):
    event = an_event()
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        assert await accept(opened, event, "id:1", "body:1")
        async with opened.transaction(TENANT) as tx:
            [stored] = await tx.events.find([event.id])
            payload = await tx.events.payload(event.id)
        async with opened.relaying() as relay:
            rows = await relay.take(10)
    assert stored.event == event
    assert payload == b"{}"
    assert [(row.tenant_id, row.queue) for row in rows] == [(TENANT, "events")]


async def test_a_known_key_is_refused_and_stores_nothing(database):
    first, again = an_event(), an_event()
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        assert await accept(opened, first, "id:1", "body:1")
        assert not await accept(opened, again, "id:2", "body:1")
        async with opened.transaction(TENANT) as tx:
            assert await tx.events.find([again.id]) == []
        async with opened.relaying() as relay:
            assert await relay.pending() == 1


async def test_of_parallel_deliveries_of_the_same_one_is_accepted(database):
    """D03"""
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        accepted = await asyncio.gather(*(accept(opened, an_event(), "body:1", "id:1") for _ in range(20)))
    assert accepted.count(True) == 1


async def test_events_of_a_subject_come_newest_first(database):
    events = [an_event("acme/shop"), an_event("acme/other"), an_event("acme/shop")]
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        for event in events:
            await accept(opened, event, f"id:{event.id}")
        async with opened.transaction(TENANT) as tx:
            page = await tx.events.page(EventsWanted(system="github", subject="acme/shop"), limit=10)
    assert [stored.event.id for stored in page] == [events[2].id, events[0].id]


async def test_deliveries_stored_together_keep_their_own_bytes_and_fates(database):
    """D03"""
    known, *fresh = [an_event() for _ in range(4)]
    payloads = ["première".encode(), b"", b"\x00\xff\\x41'"]
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        assert await accept(opened, known, "id:known")
        together = [
            Acceptance.of([event], [f"id:{n}"], payload, trace=f"trace-{n}")
            for n, (event, payload) in enumerate(zip(fresh, payloads, strict=True))
        ]
        together.insert(1, Acceptance.of([an_event()], ["id:9", "id:known"], b"again"))
        async with opened.transaction(TENANT) as tx:
            stored_of = await tx.events.accept_all(together)
        async with opened.transaction(TENANT) as tx:
            stored = await tx.events.find([event.id for event in fresh])
            kept = [await tx.events.payload(event.id) for event in fresh]
        async with opened.relaying() as relay:
            assert await relay.pending() == 4
    assert [(one.event, one.trace) for one in stored] == [(e, f"trace-{n}") for n, e in enumerate(fresh)]
    assert stored_of == {n: [event.id] for n, event in zip((0, 2, 3), fresh, strict=True)}
    assert kept == payloads


async def test_events_are_found_by_each_thing_that_may_be_named_and_in_a_range_of_time(database):
    events = [an_event(f"acme/{n}") for n in range(3)]
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        for event in events:
            await accept(opened, event, f"id:{event.id}")

        async def found(**wanted: object) -> list[int]:
            async with opened.transaction(TENANT) as tx:
                page = await tx.events.page(EventsWanted.model_validate(wanted), limit=10)
            return [events.index(stored.event) for stored in page]

        now = utc_now()
        assert await found() == [2, 1, 0]
        assert await found(source="github") == [2, 1, 0]
        assert await found(source="another") == []
        assert await found(type="activity.*", subject="acme/1") == [1]
        assert await found(type="activity") == []
        assert await found(type="alert.*") == []
        assert await found(since=now - timedelta(hours=1), until=now + timedelta(hours=1)) == [2, 1, 0]
        assert await found(since=now + timedelta(hours=1)) == []
        assert await found(until=now - timedelta(hours=1)) == []
        assert await found(since=datetime(1814, 10, 10, tzinfo=UTC)) == [2, 1, 0]


async def test_a_range_of_time_is_looked_for_in_its_months_only(database):
    now = utc_now()
    wanted = EventsWanted(since=now, until=now + timedelta(milliseconds=1))
    with psycopg.connect(database.superuser_url) as connection:
        plan = connection.execute(
            "EXPLAIN SELECT FROM events WHERE id >= %s AND id < %s ORDER BY id DESC LIMIT 10",
            (first_id_at(wanted.since), first_id_at(wanted.until)),
        ).fetchall()
    months = {word for (line,) in plan for word in line.split() if re.fullmatch(r"events_\d{4}_\d{2}", word)}
    assert len(months) == 1

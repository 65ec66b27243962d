"""The outbox, against PostgreSQL: written with its cause, taken by one relay at a time."""

from contextlib import suppress
from datetime import timedelta

import pytest
from psycopg import errors

from devops_mcp.events.messages import MESSAGE, EventReceived
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import Database, open_database

TENANT = DEFAULT_TENANT_ID
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_message() -> EventReceived:
    return EventReceived(id=new_id(), tenant_id=TENANT, event_id=new_id())


async def put(database: Database, count: int) -> list[EventReceived]:
    messages = [a_message() for _ in range(count)]
    async with database.transaction(TENANT) as tx:
        for message in messages:
            await tx.outbox.add(QueueName.EVENTS, message, trace=TRACE)
    return messages


async def test_a_message_comes_out_as_it_went_in_with_its_trace(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        [message] = await put(opened, 1)
        async with opened.relaying() as relay:
            [row] = await relay.take(10)
    assert MESSAGE.validate_json(row.message) == message
    assert (row.tenant_id, row.id, row.queue, row.trace) == (TENANT, message.id, "events", TRACE)


async def test_what_its_cause_did_not_commit_is_never_published(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        with suppress(LookupError):
            async with opened.transaction(TENANT) as tx:
                await tx.outbox.add(QueueName.EVENTS, a_message())
                raise LookupError("the cause fails")
        async with opened.relaying() as relay:
            assert await relay.pending() == 0


async def test_two_relays_never_hold_the_same_row_and_neither_waits(database):
    async with open_database(database.worker_url, pool_size=3, application="test") as opened:
        messages = await put(opened, 6)
        async with opened.relaying() as one, opened.relaying() as other:
            first = [row.id for row in await one.take(4)]
            second = [row.id for row in await other.take(4)]
            await one.remove(first)
            await other.remove(second)
        async with opened.relaying() as relay:
            assert await relay.pending() == 0
    assert first == [message.id for message in messages[:4]]
    assert second == [message.id for message in messages[4:]]


async def test_rows_of_a_relay_that_failed_are_there_for_the_next_in_order(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        messages = await put(opened, 3)
        with suppress(LookupError):
            async with opened.relaying() as relay:
                await relay.remove([row.id for row in await relay.take(10)])
                raise LookupError("it dies before its commit")
        async with opened.relaying() as relay:
            again = [row.id for row in await relay.take(10)]
    assert again == [message.id for message in messages]


async def test_what_is_due_later_is_taken_when_it_is_due_and_counts_from_then(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        later, sooner = a_message(), a_message()
        async with opened.transaction(TENANT) as tx:
            await tx.outbox.add(QueueName.EVENTS, later, due_at=utc_now() + timedelta(hours=1))
            await tx.outbox.add(QueueName.EVENTS, sooner, due_at=utc_now() - timedelta(hours=1))
        async with opened.relaying() as relay:
            assert await relay.pending() == 1
            assert [row.id for row in await relay.take(10)] == [sooner.id]


async def test_a_relay_takes_the_rows_of_every_tenant(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        tenants = {TENANT, new_id()}
        for tenant in tenants:
            async with opened.transaction(tenant) as tx:
                await tx.outbox.add(QueueName.EVENTS, a_message())
        async with opened.relaying() as relay:
            assert {row.tenant_id for row in await relay.take(10)} == tenants


async def test_the_role_of_requests_writes_the_outbox_and_cannot_read_it(database):
    """T04"""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await put(opened, 1)
        with pytest.raises(errors.InsufficientPrivilege):
            async with opened.relaying() as relay:
                await relay.take(1)

"""Results kept whole for their reader, against PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from psycopg import sql
from psycopg.errors import UniqueViolation

from devops_mcp.events.messages import MESSAGE, ResultKept
from devops_mcp.events.queues import QueueName
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.results import KeptResult
from devops_mcp.operations.result_indexing import ResultIndexer, announced
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import SearchFilter
from devops_mcp.repositories.transaction import Transaction

TENANT = DEFAULT_TENANT_ID
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ME = new_id()


def a_result(*, body: str = "{}", expires_at: datetime = NOW + timedelta(hours=1)) -> KeptResult:
    return KeptResult(
        id=new_id(),
        tenant_id=TENANT,
        owner_id=ME,
        tool="github_file_read",
        body=body,
        created_at=NOW,
        expires_at=expires_at,
    )


async def find(
    database: Database, id_: UUID, *, owner: UUID = ME, now: datetime = NOW, tenant: UUID = TENANT
):
    async with database.transaction(tenant) as tx:
        return await tx.results.find(id_, owner, now)


async def test_a_result_comes_back_byte_for_byte(database):
    kept = a_result(body='{"text": "a\\u0000 or ä, 1 MB: ' + "x" * 1_000_000 + '"}')
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.results.keep(kept)
        assert await find(opened, kept.id) == kept


async def test_only_its_owner_in_its_tenant_finds_it_and_only_until_it_expires(database):
    kept = a_result()
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.results.keep(kept)
        assert await find(opened, kept.id, owner=new_id()) is None
        assert await find(opened, kept.id, tenant=new_id()) is None
        assert await find(opened, kept.id, now=kept.expires_at) is None
        assert await find(opened, kept.id, now=kept.expires_at - timedelta(microseconds=1)) == kept


async def test_dropping_what_expired_leaves_the_rest_and_other_tenants(database):
    gone, stays = a_result(expires_at=NOW), a_result(expires_at=NOW + timedelta(seconds=1))
    theirs, their_tenant = a_result(expires_at=NOW), new_id()
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.results.keep(gone)
            await tx.results.keep(stays)
        async with opened.transaction(their_tenant) as tx:
            await tx.results.keep(theirs)
        async with opened.transaction(TENANT) as tx:
            assert await tx.results.drop_expired(NOW, 10) == 1
        before = NOW - timedelta(hours=1)
        assert await find(opened, gone.id, now=before) is None
        assert await find(opened, stays.id, now=before) == stays
        assert await find(opened, theirs.id, now=before, tenant=their_tenant) is not None


LATER = datetime.now(UTC) + timedelta(hours=1)


async def announce(database: Database, kept: KeptResult) -> ResultKept:
    async with database.transaction(TENANT) as tx:
        await tx.results.keep(kept, announced(kept, "fs"))
    return ResultKept(id=new_id(), tenant_id=TENANT, result_id=kept.id, system="fs")


async def left(database: Database) -> dict[str, int]:
    """Rows of what comes of a kept result."""
    async with database.transaction(TENANT) as tx:
        counts = {}
        for table in ("kept_results", "passages", "processed_messages"):
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            cursor = await tx.connection.execute(query)
            counts[table] = (await cursor.fetchone() or (0,))[0]
    return counts


async def test_a_result_is_kept_with_the_message_that_has_it_indexed_or_not_at_all(database):
    kept = a_result(body='{"disk": "node-7 is full"}', expires_at=LATER)
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        posting = announced(kept, "fs")
        await opened.write(TENANT, lambda tx: tx.results.keep(kept, posting))
        with pytest.raises(UniqueViolation):
            await opened.write(TENANT, lambda tx: tx.results.keep(a_result(expires_at=LATER), posting))
        assert await left(opened) == {"kept_results": 1, "passages": 0, "processed_messages": 0}
        async with opened.relaying() as relay:
            [row] = await relay.take(10)
    message = MESSAGE.validate_json(row.message)
    assert (row.queue, row.id) == (QueueName.INDEXING, message.id)
    assert message == ResultKept(id=message.id, tenant_id=TENANT, result_id=kept.id, system="fs")


async def test_a_result_is_found_once_it_is_indexed_and_as_long_as_it_is_kept(database):
    kept = a_result(body='{"disk": "node-7 is full of \\u0000"}', expires_at=LATER)
    wanted = SearchFilter(kept.owner_id)

    async def found(tx: Transaction) -> list[UUID]:
        return [hit.passage.source_id for hit in await tx.passages.search("node-7", [], wanted, 10)]

    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        message = await announce(opened, kept)
        assert await ResultIndexer(opened, embeds=True).process(TENANT, [message]) == {message.id}
        async with opened.transaction(TENANT) as tx:
            assert await found(tx) == [kept.id]
            await tx.connection.execute(
                "UPDATE kept_results SET expires_at = now() WHERE id = %s", (kept.id,)
            )
            assert await found(tx) == []
            assert await tx.results.drop_expired(datetime.now(UTC), 10) == 1
        assert (await left(opened))["passages"] == 0


async def test_a_result_whose_message_comes_twice_is_indexed_once(database):
    kept = a_result(body='{"disk": "node-7 is full"}', expires_at=LATER)
    async with open_database(database.worker_url, pool_size=4, application="test") as opened:
        message, indexer = await announce(opened, kept), ResultIndexer(opened, embeds=True)
        both = await asyncio.gather(
            indexer.process(TENANT, [message]), indexer.process(TENANT, [message, message])
        )
        assert sorted(map(len, both)) == [0, 1]
        again = message.model_copy(update={"id": new_id()})
        assert await indexer.process(TENANT, [again]) == {again.id}
        assert await left(opened) == {"kept_results": 1, "passages": 1, "processed_messages": 2}


async def test_a_result_that_has_expired_or_is_gone_before_its_message_leaves_nothing(database):
    expired = a_result(body='{"disk": "node-7 is full"}', expires_at=datetime.now(UTC))
    gone = a_result(body='{"disk": "node-8 is full"}', expires_at=datetime.now(UTC))
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        first = await announce(opened, gone)
        async with opened.transaction(TENANT) as tx:
            assert await tx.results.drop_expired(LATER, 10) == 1
        second = await announce(opened, expired)
        assert await ResultIndexer(opened, embeds=True).process(TENANT, [first, second]) == set()
        assert await left(opened) == {"kept_results": 1, "passages": 0, "processed_messages": 0}


async def test_a_result_that_expires_while_it_is_indexed_takes_its_passages_with_it(database):
    kept = a_result(body='{"disk": "node-7 is full"}', expires_at=LATER)
    async with open_database(database.worker_url, pool_size=3, application="test") as opened:
        await announce(opened, kept)
        async with opened.transaction(TENANT) as indexing:
            assert await indexing.results.hold(kept.id) == kept
            async with opened.transaction(TENANT) as tx:
                assert await tx.results.drop_expired(LATER, 10) == 0
        async with opened.transaction(TENANT) as tx:
            assert await tx.results.drop_expired(LATER, 10) == 1
            assert await tx.results.hold(kept.id) is None

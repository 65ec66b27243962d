"""Results kept whole for their reader, against PostgreSQL."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.results import KeptResult
from devops_mcp.operations.result_indexing import index_result
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


async def test_a_result_is_found_as_long_as_it_is_kept(database):
    kept = a_result(body='{"disk": "node-7 is full"}', expires_at=datetime.now(UTC) + timedelta(hours=1))
    wanted = SearchFilter(kept.owner_id)

    async def found(tx: Transaction) -> list[UUID]:
        return [hit.passage.source_id for hit in await tx.passages.search("node-7", [], wanted, 10)]

    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.results.keep(kept)
            await index_result(tx, kept, "fs", embeds=False)
        async with opened.transaction(TENANT) as tx:
            assert await found(tx) == [kept.id]
            await tx.connection.execute(
                "UPDATE kept_results SET expires_at = now() WHERE id = %s", (kept.id,)
            )
            assert await found(tx) == []
            assert await tx.results.drop_expired(datetime.now(UTC), 10) == 1
            left = await tx.connection.execute("SELECT count(*) FROM passages")
            assert await left.fetchone() == (0,)

"""Calls marked with a key, against PostgreSQL (case H14)."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.idempotency import CallKey, MarkedCall

TENANT = DEFAULT_TENANT_ID
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
KEY = CallKey(new_id(), "github_issue_write", "retry-1")
DIGEST, OTHER_DIGEST = b"\x01" * 32, b"\x02" * 32


async def begin(
    database: Database,
    key: CallKey = KEY,
    *,
    digest: bytes = DIGEST,
    now: datetime = NOW,
    tenant: UUID = TENANT,
) -> MarkedCall | None:
    async with database.transaction(tenant) as tx:
        return await tx.idempotent_calls.begin(key, digest, now, now + LEASE)


async def finish(database: Database, answer: dict[str, object]) -> None:
    async with database.transaction(TENANT) as tx:
        await tx.idempotent_calls.finish(KEY, answer)  # type: ignore[arg-type]


async def test_the_first_call_is_the_callers_to_do_and_the_second_sees_it_under_way(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        assert await begin(opened) is None
        assert await begin(opened) == MarkedCall(DIGEST, NOW + LEASE, None)


async def test_of_calls_at_once_one_is_to_be_done(database):
    """H14"""
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        found = await asyncio.gather(*(begin(opened) for _ in range(20)))
    assert found.count(None) == 1


async def test_a_finished_call_gives_its_answer_for_ever(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        await finish(opened, {"done": "created #7"})
        found = await begin(opened, now=NOW + 10 * LEASE)
    assert found == MarkedCall(DIGEST, NOW + LEASE, {"done": "created #7"})


async def test_a_call_that_crashed_is_taken_over_when_its_lease_is_out(database):
    """H14"""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        just_before = await begin(opened, now=NOW + LEASE - timedelta(seconds=1))
        assert just_before is not None
        assert await begin(opened, now=NOW + LEASE) is None
        taken_over = await begin(opened, now=NOW + LEASE)
    assert taken_over == MarkedCall(DIGEST, NOW + 2 * LEASE, None)


async def test_a_call_that_broke_off_has_a_shorter_lease_and_never_a_longer_one(database):
    """H14"""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        for until in (NOW + LEASE / 2, NOW + LEASE):
            async with opened.transaction(TENANT) as tx:
                await tx.idempotent_calls.break_off(KEY, until)
        assert await begin(opened) == MarkedCall(DIGEST, NOW + LEASE / 2, None)


async def test_other_arguments_never_take_a_call_over(database):
    """H14"""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        found = await begin(opened, digest=OTHER_DIGEST, now=NOW + 2 * LEASE)
    assert found is not None
    assert found.digest == DIGEST


async def test_the_same_key_of_another_principal_operation_or_tenant_is_another_call(database):
    """H14"""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        assert await begin(opened, CallKey(new_id(), KEY.operation, KEY.key)) is None
        assert await begin(opened, CallKey(KEY.principal_id, "another", KEY.key)) is None
        assert await begin(opened, tenant=new_id()) is None


async def test_a_forgotten_call_may_be_made_anew_but_an_answered_one_is_not_forgotten(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await begin(opened)
        async with opened.transaction(TENANT) as tx:
            await tx.idempotent_calls.forget(KEY)
        assert await begin(opened, digest=OTHER_DIGEST) is None
        await finish(opened, {"done": "yes"})
        async with opened.transaction(TENANT) as tx:
            await tx.idempotent_calls.forget(KEY)
        found = await begin(opened)
    assert found is not None
    assert found.answer == {"done": "yes"}

"""Quotas are held by all replicas together, with Redis or without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg

from devops_mcp.cache.redis import open_redis
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import QuotaExceeded
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.quotas import TENANT, QuotaDraft
from devops_mcp.operations import quota_keeper
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.repositories.database import open_database

AGENT = new_id()
WITHIN_S = 30.0


def a_principal() -> Principal:
    return Principal(id=AGENT, tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="x", grants=("*",))


@asynccontextmanager
async def keepers(
    database, redis_url: str, count: int, limit: int, now: Clock = utc_now
) -> AsyncIterator[list[QuotaKeeper]]:
    """So many processes' keepers of a tenant that may make `limit` calls a day, none of which looks or tells by itself."""
    async with (
        open_database(database.app_url, pool_size=4, application="test") as opened,
        open_redis(redis_url, command_timeout_s=WITHIN_S) as redis,
    ):
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.quotas.put(TENANT, QuotaDraft(tool_calls_per_day=limit))
        made = [QuotaKeeper(opened, redis, now=now) for _ in range(count)]
        for keeper in made:
            await keeper.refresh()
        yield made


async def admitted(keeper: QuotaKeeper, tries: int) -> int:
    async def once() -> bool:
        try:
            await keeper.admit_call(a_principal())
        except QuotaExceeded:
            return False
        return True

    return sum(await asyncio.gather(*(once() for _ in range(tries))))


async def test_replicas_together_let_through_exactly_the_quota(database, redis_url, monkeypatch):
    """Far from the end they count apart, and near it together."""
    monkeypatch.setattr(quota_keeper, "NEAR", 50)
    async with keepers(database, redis_url, 3, 100) as replicas:
        far = [await admitted(keeper, 10) for keeper in replicas]
        for keeper in [*replicas, *replicas]:
            await keeper.exchange()
        near = await asyncio.gather(*(admitted(keeper, 60) for keeper in replicas))
    assert far == [10, 10, 10]
    assert sum(near) == 70


async def test_a_count_that_redis_lost_is_begun_from_what_the_database_knows(database, redis_url):
    """R01"""
    async with keepers(database, redis_url, 2, 10) as (one, other):
        assert await admitted(one, 4) == 4
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute(
                """
                INSERT INTO tool_usage (tenant_id, principal_id, tool, day, system, calls, errors, duration_ms, tokens)
                VALUES (%s, %s, 'x', date_trunc('day', now()), 'suite', 4, 0, 1, 1)
                """,
                (DEFAULT_TENANT_ID, AGENT),
            )
        async with open_redis(redis_url) as redis:
            await redis.flushall()
        assert await admitted(other, 10) == 6
        assert await admitted(one, 10) == 0


async def test_without_redis_each_goes_on_from_what_it_knew(database):
    """R01"""
    async with keepers(database, "redis://127.0.0.1:9", 1, 10) as (alone,):
        assert await admitted(alone, 20) == 10


async def test_a_day_begins_anew(database, redis_url):
    midnight = utc_now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    now = midnight - timedelta(minutes=1)
    async with keepers(database, redis_url, 1, 1, now=lambda: now) as (keeper,):
        assert await admitted(keeper, 2) == 1
        now += timedelta(minutes=2)
        assert await admitted(keeper, 2) == 1

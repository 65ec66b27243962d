"""Quotas are held by all replicas together, with Redis or without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from math import inf

import psycopg
import pytest
from structlog.testing import capture_logs

from devops_mcp.cache.quota_counts import QuotaCounts
from devops_mcp.cache.redis import open_redis
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import QuotaExceeded, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.quotas import TENANT, QuotaDraft
from devops_mcp.operations import lookout, quota_keeper
from devops_mcp.operations.quota_keeper import QuotaKeeper, open_quota_keeper
from devops_mcp.operations.quotas import QuotaService
from devops_mcp.repositories.database import Database, open_database
from support.services import new_key

pytestmark = pytest.mark.usefixtures("one_day")

AGENT = new_id()
WITHIN_S = 30.0


def a_principal() -> Principal:
    return Principal(id=AGENT, tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="x", grants=("*",))


@asynccontextmanager
async def keepers(
    database, redis_url: str, count: int, limit: int, now: Clock = utc_now
) -> AsyncIterator[list[QuotaKeeper]]:
    """So many processes' keepers of a tenant that may use `limit` a day of each, none of which looks or tells by itself."""
    async with (
        open_database(database.app_url, pool_size=4, application="test") as opened,
        open_redis(redis_url, command_timeout_s=WITHIN_S) as redis,
    ):
        made = [QuotaKeeper(opened, redis, now=now) for _ in range(count)]
        await said(made, QuotaDraft(tool_calls_per_day=limit, embedding_tokens_per_day=limit))
        yield made


async def said(replicas: list[QuotaKeeper], draft: QuotaDraft) -> None:
    """Say the tenant's quotas, and let the replicas know."""
    async with replicas[0]._database.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.quotas.put(TENANT, draft)
    for keeper in replicas:
        await keeper.refresh()


def used_before(database, statement: str) -> None:
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(statement, {"tenant": DEFAULT_TENANT_ID, "agent": AGENT})


FOUR_CALLS = """
INSERT INTO tool_usage (tenant_id, principal_id, tool, day, system, calls, errors, duration_ms, tokens)
VALUES (%(tenant)s, %(agent)s, 'x', date_trunc('day', now()), 'suite', 4, 0, 1, 1)
"""
EIGHTY_TOKENS = """
INSERT INTO embedding_usage (tenant_id, principal_id, model, day, tokens)
VALUES (%(tenant)s, %(agent)s, 'x', date_trunc('day', now()), 80)
"""


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
        used_before(database, FOUR_CALLS)
        async with open_redis(redis_url, command_timeout_s=WITHIN_S) as redis:
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


async def test_what_was_used_while_there_was_no_quota_counts_when_there_is_one_again(database, redis_url):
    async with keepers(database, redis_url, 2, 10) as (one, other):
        assert await admitted(one, 1) == 1
        await said([one, other], QuotaDraft())
        assert await admitted(one, 3) == 3
        used_before(database, FOUR_CALLS)
        await said([one, other], QuotaDraft(tool_calls_per_day=10))
        assert await admitted(other, 3) == 3
        assert await admitted(one, 10) == 3


async def test_what_the_database_said_while_redis_was_away_counts_when_it_is_back(database, redis_url):
    """R01"""
    async with keepers(database, redis_url, 1, 4) as (keeper,):
        assert await admitted(keeper, 1) == 1
        await said([keeper], QuotaDraft())
        used_before(database, FOUR_CALLS)
        await said([keeper], QuotaDraft(tool_calls_per_day=4))
        keeper._redis._away_until = inf
        assert await admitted(keeper, 1) == 0
        keeper._redis._away_until = 0.0
        assert await admitted(keeper, 4) == 0


class Unheard(QuotaCounts):
    """Does what it is told, and from then on its answers are lost, or do not come."""

    lost = False
    awaited: asyncio.Event | None = None

    async def _ask(self, ask):
        answer = await super()._ask(ask)
        if self.awaited is not None:
            self.awaited.set()
            await asyncio.Event().wait()
        if self.lost:
            raise Unavailable("the answer was lost")
        return answer


async def test_what_redis_did_unheard_is_not_done_again(database, redis_url):
    """R01: 50 calls are 50, however often they were told; and who gave up while asking has used nothing."""
    async with (
        keepers(database, redis_url, 1, 5_000) as (other,),
        open_redis(redis_url, command_timeout_s=WITHIN_S) as redis,
    ):
        one = QuotaKeeper(other._database, redis)
        unheard = one._redis = Unheard(redis)
        await one.refresh()
        assert await admitted(one, 50) == 50
        unheard.lost = True
        for _ in range(3):
            with pytest.raises(Unavailable):
                await one.exchange()
        await said([one, other], QuotaDraft(tool_calls_per_day=100))
        assert await admitted(one, 10) == 10
        unheard.lost, unheard.awaited = False, asyncio.Event()
        giving_up = asyncio.create_task(one.admit_call(a_principal()))
        async with asyncio.timeout(WITHIN_S):
            await unheard.awaited.wait()
        giving_up.cancel()
        unheard.awaited = None
        await one.exchange()
        assert await admitted(other, 100) == 40


async def test_texts_embedded_at_the_same_time_share_the_quota_and_pay_what_they_cost(database, redis_url):
    async with keepers(database, redis_url, 3, 100) as replicas:
        holding, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def embedded(keeper: QuotaKeeper) -> bool:
            try:
                async with keeper.embedding(a_principal(), 30) as paid:
                    holding.release()
                    await go_on.wait()
                    paid(10)
            except QuotaExceeded:
                holding.release()
                return False
            return True

        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            first = [group.create_task(embedded(keeper)) for keeper in replicas * 3]
            for _ in first:
                await holding.acquire()
            go_on.set()
        assert sum(task.result() for task in first) == 3
        assert [await embedded(keeper) for keeper in replicas] == [True, True, True]
        used_before(database, EIGHTY_TOKENS)
        assert [await embedded(keeper) for keeper in replicas] == [False, False, False]


async def test_quotas_said_at_the_same_time_are_said_one_after_the_other(database, redis_url):
    """L05: the log says what each of them changed, and the last one holds."""
    await new_key(database.owner_url, id=AGENT)
    async with keepers(database, redis_url, 1, 10) as (keeper,):
        service, manager = QuotaService(keeper._database, keeper), a_principal()
        drafts = [QuotaDraft(tool_calls_per_day=limit) for limit in range(1, 9)]
        await asyncio.gather(*(service.put(manager, AGENT, draft) for draft in drafts))
        async with keeper._database.transaction(DEFAULT_TENANT_ID) as tx:
            records = await tx.audit.latest(len(drafts))
        last = (await service.get(manager, AGENT)).tool_calls_per_day
    afters = {record.arguments["after"]["tool_calls_per_day"] for record in records}
    befores = {record.arguments["before"].get("tool_calls_per_day") for record in records}
    assert afters == set(range(1, 9))
    assert befores == {None, *afters} - {last}


class Faulty(Database):
    faults = 0
    is_faulty = False

    async def quota_versions(self):
        if self.is_faulty:
            self.faults += 1
            raise ValueError("a fault of ours")
        return await super().quota_versions()


async def test_quotas_are_still_looked_for_after_a_fault(database, redis_url, monkeypatch):
    monkeypatch.setattr(lookout, "EVERY_S", 0.01)
    async with keepers(database, redis_url, 1, 5) as (keeper,), open_redis(redis_url) as redis:
        faulty = Faulty(keeper._database._pool, keeper._database._url)
        with capture_logs() as logs:
            async with open_quota_keeper(faulty, redis) as looking, asyncio.timeout(WITHIN_S):
                faulty.is_faulty = True
                while faulty.faults < 2:
                    await asyncio.sleep(0.01)
                faulty.is_faulty = False
                await said([keeper], QuotaDraft(tool_calls_per_day=0))
                while await admitted(looking, 1):
                    await asyncio.sleep(0.01)
    assert [entry["event"] for entry in logs].count("quotas not kept current") == 1

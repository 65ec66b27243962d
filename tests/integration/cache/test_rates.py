"""The rate limit, on a real Redis: one limit for all replicas, and the same without Redis."""

import asyncio
from uuid import uuid4

import pytest

from devops_mcp.cache.rates import Rate, RateLimiter
from devops_mcp.cache.redis import open_redis
from devops_mcp.models.errors import RateLimited


async def allowed(limiters: list[RateLimiter], caller: str, tries: int) -> int:
    count = 0
    for number in range(tries):
        try:
            await limiters[number % len(limiters)].take(caller)
        except RateLimited:
            continue
        count += 1
    return count


async def until_refused(limiter: RateLimiter, caller: str) -> None:
    """More than once only on a slow machine, where some has come back already."""
    while True:
        await limiter.take(caller)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_together_the_replicas_allow_the_burst_and_no_more(redis_url, replicas):
    caller = uuid4().hex
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        limiters = [RateLimiter(redis, Rate(per_s=0.01, burst=40)) for _ in range(replicas)]
        passed = await allowed(limiters, caller, 100)
        other = await allowed(limiters, uuid4().hex, 10)
    assert passed == 40
    assert other == 10


async def test_what_was_spent_comes_back_with_time_and_the_error_says_when(redis_url):
    caller = uuid4().hex
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        limiter = RateLimiter(redis, Rate(per_s=20, burst=2))
        assert await allowed([limiter], caller, 2) == 2
        with pytest.raises(RateLimited) as refused:
            await until_refused(limiter, caller)
        assert refused.value.retry_after_s is not None
        assert 0 < refused.value.retry_after_s <= 0.05
        await asyncio.sleep(refused.value.retry_after_s + 0.01)
        await limiter.take(caller)


async def test_callers_at_once_are_held_to_the_same_limit(redis_url):
    caller = uuid4().hex
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        limiters = [RateLimiter(redis, Rate(per_s=0.01, burst=30)) for _ in range(4)]
        passed = await asyncio.gather(*(allowed([limiter], caller, 25) for limiter in limiters))
    assert sum(passed) <= 30
    assert sum(passed) >= 30 - 4 * Rate(per_s=0.01, burst=30).lot


async def test_without_redis_the_process_keeps_the_limit_itself():
    """R01"""
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        limiter = RateLimiter(redis, Rate(per_s=0.01, burst=5))
        assert await allowed([limiter], "caller", 20) == 5
        assert await allowed([limiter], "other", 3) == 3


async def test_callers_that_find_no_permits_at_once_ask_redis_once(redis_url):
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        limiter = RateLimiter(redis, Rate(per_s=1_000, burst=1_000), monotonic=lambda: 0.0)
        await limiter.take(uuid4().hex)  # the script is known from now on
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        await asyncio.gather(*(limiter.take("caller-" + redis_url) for _ in range(50)))
        after = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - before == 1


async def test_a_caller_that_asks_now_and_then_loses_little_of_what_it_may(redis_url):
    """Permits that a replica does not spend within a second are lost: with lots of ten this one would have lost 270."""
    time_s = [0.0]
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        limiter = RateLimiter(redis, Rate(per_s=100, burst=10_000), monotonic=lambda: time_s[0])
        caller = uuid4().hex
        lefts = []
        for _ in range(30):
            lefts.append((await limiter.take(caller)).left)
            time_s[0] += 2
    assert min(lefts) >= 10_000 - 2 * 30


async def test_of_a_crowd_of_one_caller_those_without_a_permit_are_refused_at_once(redis_url):
    """Who asked again instead would get the permits of the meantime one by one, and wake all the others for each."""
    caller = uuid4().hex

    async def passed(limiter: RateLimiter) -> bool:
        try:
            await limiter.take(caller)
        except RateLimited:
            return False
        return True

    async with open_redis(redis_url, command_timeout_s=30) as redis:
        limiter = RateLimiter(redis, Rate(per_s=2_000, burst=100))
        await limiter.take(uuid4().hex)  # the script is known from now on
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        outcomes = await asyncio.gather(*(passed(limiter) for _ in range(5_000)))
        asked = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
    assert asked == 1
    assert sum(outcomes) == 100


async def test_of_a_crowd_each_is_told_a_time_of_its_own_within_that_of_the_burst(redis_url):
    """All of them told the same would come back all at once."""
    async with open_redis(redis_url, command_timeout_s=30) as redis:
        limiter = RateLimiter(redis, Rate(per_s=0.01, burst=50))
        crowd = (limiter.take("crowd-" + redis_url) for _ in range(130))
        outcomes = await asyncio.gather(*crowd, return_exceptions=True)
    waits = [one.retry_after_s for one in outcomes if isinstance(one, RateLimited)]
    assert waits == [pytest.approx(min(100 * turn, 5_000), abs=0.1) for turn in range(1, 81)]


async def test_without_redis_a_crowd_of_one_caller_is_let_through_as_far_as_the_burst():
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        limiter = RateLimiter(redis, Rate(per_s=0.01, burst=40))
        outcomes = await asyncio.gather(*(limiter.take("caller") for _ in range(100)), return_exceptions=True)
    assert sum(not isinstance(outcome, RateLimited) for outcome in outcomes) == 40

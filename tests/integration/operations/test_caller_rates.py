"""How often callers, users, tenants and addresses may ask, on a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from redis.asyncio import Redis

from devops_mcp.cache.rates import Rate
from devops_mcp.cache.redis import open_redis
from devops_mcp.models.errors import RateLimited
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.caller import set_address
from devops_mcp.operations.caller_rates import CallerRates, Guesses

FIVE = Rate(per_s=0.01, burst=5)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, command_timeout_s=2) as opened:
        yield opened


def who(tenant_id: UUID, *, of_user: UUID | None = None) -> Principal:
    return Principal(
        id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.SERVICE, name="x", grants=("*",), user_id=of_user
    )


async def taken(rates: CallerRates, principal: Principal, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            await rates.take(principal)
        except RateLimited:
            continue
        count += 1
    return count


async def test_keys_of_a_user_share_its_rate_and_those_of_nobody_have_their_own(redis):
    rates, tenant, user = CallerRates(redis, FIVE, kind="calls", of_tenant=0), new_id(), new_id()
    assert await taken(rates, who(tenant, of_user=user), 4) == 4
    assert await taken(rates, who(tenant, of_user=user), 4) == 1
    assert await taken(rates, who(tenant), 9) == 5


async def test_callers_of_a_tenant_together_may_so_many_times_as_much_as_one(redis):
    rates, tenant, other = CallerRates(redis, FIVE, kind="calls", of_tenant=2), new_id(), new_id()
    assert [await taken(rates, who(tenant), 5) for _ in range(3)] == [5, 5, 0]
    with pytest.raises(RateLimited, match="of the tenant"):
        await rates.take(who(tenant))
    assert await taken(rates, who(other), 5) == 5
    assert await taken(CallerRates(redis, FIVE, kind="requests", of_tenant=2), who(tenant), 5) == 5


async def test_an_address_that_guesses_is_told_to_wait_and_another_is_not(redis):
    """A10"""
    time_s = [0.0]
    guesses = Guesses(redis, Rate(per_s=0.01, burst=3), monotonic=lambda: time_s[0])
    set_address(f"192.0.2.1-{new_id()}")
    for _ in range(3):
        guesses.require_room()
        await guesses.count()
    guesses.require_room()
    await guesses.count()
    with pytest.raises(RateLimited) as refused:
        guesses.require_room()
    set_address(f"192.0.2.2-{new_id()}")
    guesses.require_room()
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s <= 100


async def test_who_is_refused_again_and_again_is_not_kept_in_memory(redis):
    guesses = Guesses(redis, Rate(per_s=0.01, burst=1), monotonic=lambda: 0.0)
    set_address(f"192.0.2.1-{new_id()}")
    for _ in range(2):
        await guesses.count()
    for _ in range(3):
        with pytest.raises(RateLimited) as refused:
            guesses.require_room()
    assert [entry.name for entry in refused.traceback][1:] == ["require_room"]


async def test_an_address_that_guessed_may_try_again_when_it_was_told(redis):
    time_s = [0.0]
    guesses = Guesses(redis, Rate(per_s=0.01, burst=1), monotonic=lambda: time_s[0])
    set_address(f"192.0.2.1-{new_id()}")
    for _ in range(2):
        await guesses.count()
    with pytest.raises(RateLimited) as refused:
        guesses.require_room()
    time_s[0] += refused.value.retry_after_s or 0
    guesses.require_room()


async def test_what_an_address_guesses_at_once_it_has_to_wait_for(redis):
    """Looked at together, none of them was one too many yet."""
    guesses = Guesses(redis, Rate(per_s=0.01, burst=10), monotonic=lambda: 0.0)
    set_address(f"192.0.2.1-{new_id()}")
    await asyncio.gather(*(guesses.count() for _ in range(15)))
    with pytest.raises(RateLimited) as refused:
        guesses.require_room()
    assert refused.value.retry_after_s == pytest.approx(500, abs=5)
    await asyncio.gather(*(guesses.count() for _ in range(100)))
    with pytest.raises(RateLimited) as refused:
        guesses.require_room()
    assert refused.value.retry_after_s == pytest.approx(1_000, abs=5)


async def test_without_redis_what_an_address_guesses_is_counted_by_the_process():
    """R01"""
    async with open_redis("redis://127.0.0.1:1/0") as nowhere:
        guesses = Guesses(nowhere, Rate(per_s=0.01, burst=10), monotonic=lambda: 0.0)
        set_address("192.0.2.1")
        await asyncio.gather(*(guesses.count() for _ in range(10)))
        guesses.require_room()
        await guesses.count()
    with pytest.raises(RateLimited) as refused:
        guesses.require_room()
    assert refused.value.retry_after_s == pytest.approx(100)

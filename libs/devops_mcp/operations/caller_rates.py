"""How often somebody may ask: each caller, all keys of a user, all callers of a tenant, and one address that guesses."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from redis.asyncio import Redis

from devops_mcp.cache.rates import Rate, RateLimiter, Standing
from devops_mcp.models.principals import Principal
from devops_mcp.observability.caller import current_address

GUESSING = Rate(per_s=20, burst=200, name="credentials that are not valid")
"""Of one address: behind it may be a whole office, and a program that does not notice that its key has ended."""
_KNOWN = 10_000


class CallerRates:
    """Holds each caller to `rate`, and a tenant's callers together to `of_tenant` times as much; 0: to nothing.

    A user and the keys that act for it are one caller. `kind` tells one sort of permits from another in Redis.
    """

    def __init__(self, redis: Redis, rate: Rate, *, kind: str, of_tenant: int) -> None:
        self._own = RateLimiter(redis, rate)
        whole = Rate(rate.per_s * of_tenant, rate.burst * of_tenant, f"{rate.name} of the tenant")
        self._whole = RateLimiter(redis, whole) if of_tenant else None
        self._kind = kind

    async def take(self, principal: Principal) -> Standing:
        """Spend one permit of each and say how the caller stands; raises `RateLimited`."""
        own, of_tenant = (
            f"{self._kind}:{principal.caller}",
            f"{self._kind}:tenant:{principal.ids['tenant_id']}",
        )
        standing = self._own.take_at_hand(own) or await self._own.take(own)
        if self._whole is not None and self._whole.take_at_hand(of_tenant) is None:
            await self._whole.take(of_tenant)
        return standing


class Guesses:
    """How often one address may show credentials that nobody has, over all replicas.

    Those that it shows at the same time are looked at before any of them is known to be one too many. They count all the same, and the
    address is barred until the rate has made up for them: however many it sends at once, it does not get on faster.
    """

    def __init__(
        self, redis: Redis, rate: Rate = GUESSING, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limiter = RateLimiter(redis, rate, monotonic=monotonic)
        self._monotonic = monotonic
        self._barred: OrderedDict[str, float] = OrderedDict()
        self._uncounted: dict[str, int] = {}
        self._counting: dict[str, asyncio.Task[None]] = {}

    def require_room(self) -> None:
        """Raises `RateLimited` where the caller's address has guessed too often of late. Nothing is asked for that."""
        wait_s = self._barred.get(_address(), 0.0) - self._monotonic()
        if wait_s > 0:
            raise self._limiter.refusal(max(round(wait_s, 2), 0.01))

    async def count(self) -> None:
        """The caller's address has guessed once more; Redis is told once of all that it guessed meanwhile."""
        address = _address()
        self._uncounted[address] = self._uncounted.get(address, 0) + 1
        counting = self._counting.get(address)
        if counting is None:
            counting = self._counting[address] = asyncio.create_task(self._charge(address))
        await asyncio.shield(counting)

    async def _charge(self, address: str) -> None:
        try:
            while count := self._uncounted.pop(address, 0):
                wait_s = await self._limiter.charge(f"guess:{address}", count)
                if wait_s > 0:
                    self._bar(address, wait_s)
        finally:
            del self._counting[address]

    def _bar(self, address: str, wait_s: float) -> None:
        self._barred[address] = self._monotonic() + wait_s
        self._barred.move_to_end(address)
        if len(self._barred) > _KNOWN:
            self._barred.popitem(last=False)


def _address() -> str:
    return current_address() or "unknown"

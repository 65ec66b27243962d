"""How often somebody may ask: each caller, all keys of a user, all callers of a tenant, and one address that guesses."""

import time
from collections import OrderedDict
from collections.abc import Callable
from copy import copy

from redis.asyncio import Redis

from devops_mcp.cache.rates import Rate, RateLimiter, Standing
from devops_mcp.models.errors import RateLimited
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
        standing = await self._own.take(f"{self._kind}:{principal.caller}")
        if self._whole is not None:
            await self._whole.take(f"{self._kind}:tenant:{principal.ids['tenant_id']}")
        return standing


class Guesses:
    """How often one address may show credentials that nobody has, over all replicas."""

    def __init__(
        self, redis: Redis, rate: Rate = GUESSING, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._limiter = RateLimiter(redis, rate, monotonic=monotonic)
        self._monotonic = monotonic
        self._barred: OrderedDict[str, tuple[float, RateLimited]] = OrderedDict()

    def require_room(self) -> None:
        """Raises `RateLimited` where the caller's address has guessed too often of late. Nothing is asked for that."""
        until, refusal = self._barred.get(_address(), (0.0, None))
        if refusal is not None and self._monotonic() < until:
            # Each time another: one that is raised again holds all of who were told it before.
            raise copy(refusal)

    async def count(self) -> None:
        """The caller's address has guessed once more."""
        address = _address()
        try:
            await self._limiter.take(f"guess:{address}")
        except RateLimited as refusal:
            self._barred[address] = (self._monotonic() + (refusal.retry_after_s or 0.0), refusal)
            self._barred.move_to_end(address)
            if len(self._barred) > _KNOWN:
                self._barred.popitem(last=False)


def _address() -> str:
    return current_address() or "unknown"

"""How often a caller may call: one limit for all replicas, asked of Redis once for many calls.

The limit is GCRA: so many a second, and so many at once after a pause. A process takes permits from Redis in small lots and spends them
itself; together the replicas never allow more than the limit. What of a lot is not spent within a second is lost, so lots are as large as
what is spent. Without Redis each process keeps the limit by itself.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.models.errors import RateLimited

log = structlog.get_logger()

_PREFIX = "devops-mcp:rate:"
_MOST_OWED = 2
"""Times the burst: so much is owed at most by who goes on without a permit."""
_SPEND_WITHIN_S = 1.0
_KNOWN = 10_000
_PAUSE_S = 1.0
# KEYS: the caller. ARGV: seconds a permit, permits at once, permits wanted. Answers the permits given, the seconds until
# there is one more, and how many there are left.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local interval, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local owed = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - now, 0)
local given = math.min(math.floor(burst - owed / interval + 0.000001), wanted)
if given < 1 then return {0, tostring(owed + interval - burst * interval), 0} end
owed = owed + given * interval
redis.call('SET', KEYS[1], string.format('%.6f', now + owed), 'PX', math.ceil(owed * 1000) + 1000)
local left = math.floor(burst - owed / interval + 0.000001)
return {given, tostring(owed + interval - burst * interval), left}
"""

# KEYS: the caller. ARGV: seconds a permit, permits spent, seconds owed at most. Answers the seconds owed.
_CHARGE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local owed = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') - now, 0) + ARGV[1] * ARGV[2]
owed = math.min(owed, tonumber(ARGV[3]))
redis.call('SET', KEYS[1], string.format('%.6f', now + owed), 'PX', math.ceil(owed * 1000) + 1000)
return tostring(owed)
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_s` calls a second in the long run, `burst` at once after a pause."""

    per_s: float
    burst: int
    name: str = "calls"
    """What callers are told it is."""

    @property
    def lot(self) -> int:
        """How many permits are taken at once at most: a tenth of a second's worth, and never much of the burst."""
        return max(1, min(int(self.per_s / 10), self.burst // 10))


class Standing(NamedTuple):
    """How a caller stands: `left` of the rate's burst, as far as this process knows."""

    rate: Rate
    left: int

    @property
    def full_s(self) -> int:
        """Seconds until all of the burst is there again."""
        return math.ceil((self.rate.burst - self.left) / self.rate.per_s)


@dataclass(slots=True)
class _Lot:
    given: int
    permits: int
    until: float
    left: int


@dataclass(slots=True)
class _Queue:
    """Those of a crowd for whom there was no permit: each is told a time of its own, so that they do not come back all at once."""

    next_s: float
    interval_s: float
    longest_s: float

    def wait_s(self) -> float:
        """The seconds that the next of them is to wait."""
        told = max(round(min(self.next_s, self.longest_s), 2), 0.01)
        self.next_s += self.interval_s
        return told


class RateLimiter:
    """Holds callers to a rate."""

    def __init__(self, redis: Redis, rate: Rate, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._take = redis.register_script(_TAKE)
        self._charge = redis.register_script(_CHARGE)
        self._rate = rate
        self._monotonic = monotonic
        self._lots: OrderedDict[str, _Lot] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Queue | None]] = {}
        self._waiting: dict[str, int] = {}
        self._due: OrderedDict[str, float] = OrderedDict()
        self._alone_until = 0.0

    def take_at_hand(self, caller: str) -> Standing | None:
        """Spend one permit of those that this process has; None where it has none left for the caller, and has to `take` one."""
        lot = self._lots.get(caller)
        if lot is None or lot.permits < 1 or self._monotonic() >= lot.until:
            return None
        lot.permits -= 1
        return Standing(self._rate, lot.permits + lot.left)

    async def take(self, caller: str) -> Standing:
        """Spend one permit; raises `RateLimited` that says when there will be one.

        However many find none at the same time, Redis is asked once for all of them, and whom it gives none is refused: who went on
        asking would get the permits of the meantime one by one, and wake the whole crowd for each.
        """
        queue: _Queue | None = None
        while (standing := self.take_at_hand(caller)) is None:
            if queue is not None:
                raise self.refusal(queue.wait_s())
            self._waiting[caller] = self._waiting.get(caller, 0) + 1
            asking = self._asking.get(caller)
            if asking is None:
                asking = self._asking[caller] = asyncio.create_task(self._fetch(caller))
            queue = await asyncio.shield(asking)
        return standing

    async def charge(self, caller: str, count: int) -> float:
        """Spend so many permits, there or not: the seconds until no more than the burst is spent; none or fewer where it is not."""
        burst_s = self._rate.burst / self._rate.per_s
        owed_s: float | None = None
        if self._monotonic() >= self._alone_until:
            arguments = [1 / self._rate.per_s, count, _MOST_OWED * burst_s]
            try:
                owed_s = float(await self._charge(keys=[_PREFIX + caller], args=arguments))
            except (RedisError, OSError) as error:
                self._go_alone(error)
        if owed_s is None:
            owed_s = min(self._owed_alone(caller) + count / self._rate.per_s, _MOST_OWED * burst_s)
            self._owe_alone(caller, owed_s)
        return owed_s - burst_s

    async def _fetch(self, caller: str) -> _Queue | None:
        """Get a lot of permits; who gets none of it queues up where there are not as many as wanted."""
        wanted = self._wanted(caller)
        try:
            given, wait_s, left = await self._ask(caller, wanted)
        finally:
            del self._asking[caller], self._waiting[caller]
        if given > 0:
            self._lots[caller] = _Lot(given, given, self._monotonic() + _SPEND_WITHIN_S, left)
            self._lots.move_to_end(caller)
            if len(self._lots) > _KNOWN:
                self._lots.popitem(last=False)
        if given == wanted:
            return None
        per_s = self._rate.per_s
        return _Queue(wait_s, interval_s=1 / per_s, longest_s=max(wait_s, self._rate.burst / per_s))

    def refusal(self, wait_s: float) -> RateLimited:
        """The error of who has no permit for so long."""
        error = RateLimited(
            f"more than {self._rate.per_s:g} {self._rate.name} a second; wait a moment", retry_after_s=wait_s
        )
        error.headers = rate_headers(Standing(self._rate, 0))
        return error

    async def _ask(self, caller: str, wanted: int) -> tuple[int, float, int]:
        if self._monotonic() < self._alone_until:
            return self._alone(caller, wanted)
        arguments = [1 / self._rate.per_s, self._rate.burst, wanted]
        try:
            given, wait_s, left = await self._take(keys=[_PREFIX + caller], args=arguments)
        except (RedisError, OSError) as error:
            self._go_alone(error)
            return self._alone(caller, wanted)
        return int(given), float(wait_s), int(left)

    def _wanted(self, caller: str) -> int:
        """As many as wait, or twice what was spent of the lot before: of a full one a quiet caller would lose nearly all."""
        lot = self._lots.get(caller)
        spent = 0 if lot is None else lot.given - lot.permits
        return max(self._waiting[caller], min(self._rate.lot, 2 * spent))

    def _alone(self, caller: str, wanted: int) -> tuple[int, float, int]:
        """The same limit, of this process only."""
        interval, burst = 1 / self._rate.per_s, self._rate.burst
        owed = self._owed_alone(caller)
        given = min(math.floor(burst - owed / interval + 0.000001), wanted)
        if given < 1:
            return 0, owed + interval - burst * interval, 0
        owed += given * interval
        self._owe_alone(caller, owed)
        left = math.floor(burst - owed / interval + 0.000001)
        return given, owed + interval - burst * interval, left

    def _go_alone(self, error: Exception) -> None:
        self._alone_until = self._monotonic() + _PAUSE_S
        log.warning("rate limit kept without Redis", error=type(error).__name__)

    def _owed_alone(self, caller: str) -> float:
        return max(self._due.get(caller, 0.0) - self._monotonic(), 0.0)

    def _owe_alone(self, caller: str, owed_s: float) -> None:
        self._due[caller] = self._monotonic() + owed_s
        self._due.move_to_end(caller)
        if len(self._due) > _KNOWN:
            self._due.popitem(last=False)


def rate_headers(standing: Standing) -> dict[str, str]:
    """What callers are told of it (draft-ietf-httpapi-ratelimit-headers-10)."""
    rate = standing.rate
    window_s = math.ceil(rate.burst / rate.per_s)
    return {
        "ratelimit-policy": f'"{rate.name}";q={rate.burst};w={window_s}',
        "ratelimit": f'"{rate.name}";r={standing.left};t={standing.full_s}',
    }

"""How often somebody may fail: counted for all replicas in Redis, and without Redis by each process alone."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.models.errors import RateLimited

log = structlog.get_logger()

_PREFIX = "devops-mcp:attempts:"
_KNOWN = 10_000
# KEYS: what is counted. ARGV: the window in ms, then how many are allowed of each. Counts one of each, or, where one is used up, none;
# answers the milliseconds to wait, 0 where it was counted.
_COUNT = """
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[i + 1]) then return math.max(redis.call('PTTL', key), 1) end
end
for _, key in ipairs(KEYS) do
  if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[1]) end
end
return 0
"""
_TAKE_BACK = """
for i, key in ipairs(KEYS) do
  if ARGV[i] == '1' then redis.call('DEL', key)
  elseif tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Of `what` may `limit` attempts fail within the window; one that goes well forgets all of them if `clears`."""

    what: str
    limit: int
    clears: bool

    @property
    def key(self) -> str:
        """What is counted may be a name that somebody typed: it is not kept in clear."""
        return _PREFIX + sha256(self.what.encode("utf-8", "replace")).hexdigest()


class Attempts:
    """An attempt is counted before it is made, so that a thousand at once are not all made; one that went well is taken back."""

    def __init__(
        self, redis: Redis, *, window_s: float = 900.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = redis.register_script(_COUNT)
        self._take_back = redis.register_script(_TAKE_BACK)
        self._window_s = window_s
        self._monotonic = monotonic
        self._alone: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def begin(self, allowances: Sequence[Allowance]) -> None:
        """Raises `RateLimited` when one of them is used up."""
        limits = [allowance.limit for allowance in allowances]
        keys = [allowance.key for allowance in allowances]
        wait_s = self._wait_alone(allowances)
        if wait_s == 0:
            try:
                wait_s = int(await self._count(keys=keys, args=[int(self._window_s * 1000), *limits])) / 1000
            except (RedisError, OSError) as error:
                log.warning("attempts counted without Redis", error=type(error).__name__)
                self._count_alone(allowances)
        if wait_s > 0:
            raise RateLimited("too many attempts that failed; wait", retry_after_s=wait_s)

    async def succeeded(self, allowances: Sequence[Allowance]) -> None:
        """Take the attempt back."""
        for allowance in allowances:
            self._alone.pop(allowance.key, None)
        flags = ["1" if allowance.clears else "0" for allowance in allowances]
        try:
            await self._take_back(keys=[allowance.key for allowance in allowances], args=flags)
        except (RedisError, OSError) as error:
            log.warning("attempts counted without Redis", error=type(error).__name__)

    def _wait_alone(self, allowances: Sequence[Allowance]) -> float:
        now = self._monotonic()
        waits = [0.0]
        for allowance in allowances:
            count, until = self._alone.get(allowance.key, (0, now))
            if count >= allowance.limit and until > now:
                waits.append(until - now)
        return max(waits)

    def _count_alone(self, allowances: Sequence[Allowance]) -> None:
        now = self._monotonic()
        for allowance in allowances:
            count, until = self._alone.pop(allowance.key, (0, 0.0))
            self._alone[allowance.key] = (count + 1, until) if until > now else (1, now + self._window_s)
            if len(self._alone) > _KNOWN:
                self._alone.popitem(last=False)

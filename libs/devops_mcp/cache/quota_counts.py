"""What was used of quotas, in Redis: one count for all replicas.

A count that Redis does not have is begun by whoever knows it from the database; Redis may lose them all.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.models.errors import Unavailable

_PREFIX = "devops-mcp:quota:"
_PAUSE_S = 1.0
_KEPT_BEHIND = timedelta(days=1)
# KEYS: counts. ARGV, for each: its limit, and what is to be added whatever becomes of the one that is wanted. Answers first the number
# of a count without room for one more, 0 where all had and have it now, -1 where one is not there and nothing was done; then the counts.
_TAKE = """
local used, refused = {}, 0
for i, key in ipairs(KEYS) do
    local known = redis.call('GET', key)
    if not known then return {-1} end
    used[i] = tonumber(known) + tonumber(ARGV[2 * i])
    if refused == 0 and used[i] + 1 > tonumber(ARGV[2 * i - 1]) then refused = i end
end
local answer = {refused}
for i, key in ipairs(KEYS) do
    answer[i + 1] = redis.call('INCRBY', key, tonumber(ARGV[2 * i]) + (refused == 0 and 1 or 0))
end
return answer
"""
# KEYS: counts. ARGV: what is to be added to each. Answers the counts, false for those that are not there.
_ADD = """
local answer = {}
for i, key in ipairs(KEYS) do
    answer[i] = redis.call('EXISTS', key) == 1 and redis.call('INCRBY', key, ARGV[i])
end
return answer
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One more of what `key` counts, up to `limit`, and `besides` that was used without asking."""

    key: str
    limit: int
    besides: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The counts in the order of what was wanted; `refused` is the position of one that has no room, and then nothing was taken."""

    counts: Sequence[int]
    refused: int | None


class QuotaCounts:
    """Every method raises `Unavailable` where Redis does not answer, and for a second after that at once."""

    def __init__(self, redis: Redis, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._add = redis.register_script(_ADD)
        self._monotonic = monotonic
        self._away_until = 0.0

    async def take(self, wanted: Sequence[Wanted]) -> Taken | None:
        """One of each, or none of any; None where a count has to be begun first."""
        keys = [_PREFIX + one.key for one in wanted]
        arguments = [number for one in wanted for number in (one.limit, one.besides)]
        answer = await self._ask(lambda: self._take(keys=keys, args=arguments))
        refused, *counts = map(int, answer)
        if refused < 0:
            return None
        return Taken(counts, refused - 1 if refused else None)

    async def add(self, used: Mapping[str, int]) -> Mapping[str, int | None]:
        """Add what was used without asking; the counts, None for those that have to be begun, to which nothing was added."""
        keys = [_PREFIX + key for key in used]
        answer = await self._ask(lambda: self._add(keys=keys, args=list(used.values())))
        return {key: None if count is None else int(count) for key, count in zip(used, answer, strict=True)}

    async def begin(self, key: str, used: int, ends: datetime) -> int:
        """Begin a count that ends then, unless somebody has meanwhile; the count."""
        name = _PREFIX + key
        await self._ask(lambda: self._redis.set(name, used, nx=True, exat=ends + _KEPT_BEHIND))
        count = await self._ask(lambda: self._redis.get(name))
        return used if count is None else int(count)

    async def _ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        if self._monotonic() < self._away_until:
            raise Unavailable("redis did not answer a moment ago")
        try:
            return await ask()
        except (RedisError, OSError) as error:
            self._away_until = self._monotonic() + _PAUSE_S
            raise Unavailable(f"redis did not answer ({type(error).__name__})") from None

"""What was used of quotas, in Redis: one count for all replicas.

Each process says how much it has used altogether, never how much more: said again, because nobody knows whether it was heard, it changes
nothing. A count that Redis does not have is begun by whoever knows it from the database; Redis may lose them all, and a count that is begun
anew has another `life`, in which each process begins anew as well.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.models.errors import Unavailable

_PREFIX = "devops-mcp:quotas:"
_PAUSE_S = 1.0
_KEPT_BEHIND = timedelta(days=1)
_TOLD = """
-- What all have used once `me` has used `mine` of the count; false where the count is not in that life.
local function told(key, life, me, mine)
    local known = redis.call('HMGET', key, 'life', me)
    if known[1] ~= life then return false end
    redis.call('HSET', key, me, mine)
    return redis.call('HINCRBY', key, 'all', string.format('%.0f', tonumber(mine) - tonumber(known[2] or '0')))
end
"""
# KEYS: counts. ARGV: the process, how much it wants, and for each count its life, what the process has used, and the limit. Answers first
# the number of a count without room for so much, 0 where all had and it was taken of each, -1 where one has to be begun and nothing was
# taken; then what was used before.
_TAKE = f"""{_TOLD}
local me, amount, used, refused = ARGV[1], tonumber(ARGV[2]), {{}}, 0
for i, key in ipairs(KEYS) do
    used[i] = told(key, ARGV[3 * i], me, ARGV[3 * i + 1])
    if not used[i] then return {{-1}} end
    if refused == 0 and used[i] + amount > tonumber(ARGV[3 * i + 2]) then refused = i end
end
for i, key in ipairs(KEYS) do
    if refused == 0 then told(key, ARGV[3 * i], me, string.format('%.0f', tonumber(ARGV[3 * i + 1]) + amount)) end
end
return {{refused, unpack(used)}}
"""
# KEYS: counts. ARGV: the process, and for each count its life and what the process has used. Answers what all have used, false for what has
# to be begun.
_TELL = f"""{_TOLD}
local answer = {{}}
for i, key in ipairs(KEYS) do
    answer[i] = told(key, ARGV[2 * i], ARGV[1], ARGV[2 * i + 1])
end
return answer
"""
# KEYS: a count. ARGV: the process, the life that it knows, what it has used in that, what all have by the database, what all have as far as
# the process knows, a new life, and when the count ends. Answers the life, what all have used, and what of it is the process's.
_BEGIN = f"""{_TOLD}
local key, me, mine = KEYS[1], ARGV[1], ARGV[3]
if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'life', ARGV[6], 'all', ARGV[5])
    redis.call('EXPIREAT', key, ARGV[7])
end
local all = told(key, ARGV[2], me, mine)
if not all then
    mine = redis.call('HGET', key, me) or '0'
    all = math.max(tonumber(redis.call('HGET', key, 'all')), tonumber(ARGV[5]))
end
all = math.max(all, tonumber(ARGV[4]))
redis.call('HSET', key, 'all', string.format('%.0f', all))
return {{redis.call('HGET', key, 'life'), all, tonumber(mine)}}
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What this process has used of a count, in a life of it."""

    key: str
    life: str
    mine: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What was used before, in the order of what was asked; `refused` is the position of one without room, and then nothing was taken."""

    used: Sequence[int]
    refused: int | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The life of a count, what all have used, and what of it is this process's."""

    life: str
    used: int
    mine: int


class QuotaCounts:
    """Every method raises `Unavailable` where Redis does not answer, and for a second after that at once."""

    def __init__(self, redis: Redis, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._process = uuid4().hex
        self._take = redis.register_script(_TAKE)
        self._tell = redis.register_script(_TELL)
        self._begin = redis.register_script(_BEGIN)
        self._monotonic = monotonic
        self._away_until = 0.0

    async def take(self, said: Sequence[Said], limits: Sequence[int], amount: int) -> Taken | None:
        """So much of each, or nothing of any; None where a count has to be begun first."""
        each = [
            argument
            for one, limit in zip(said, limits, strict=True)
            for argument in (one.life, one.mine, limit)
        ]
        arguments = [self._process, amount, *each]
        answer = await self._ask(lambda: self._take(keys=_keys(said), args=arguments))
        refused, *used = map(int, answer)
        if refused < 0:
            return None
        return Taken(used, refused - 1 if refused else None)

    async def tell(self, said: Sequence[Said]) -> list[int | None]:
        """Say what this process has used; what all have, None where a count has to be begun first."""
        arguments = [self._process, *(argument for one in said for argument in (one.life, one.mine))]
        answer = await self._ask(lambda: self._tell(keys=_keys(said), args=arguments))
        return [None if used is None else int(used) for used in answer]

    async def begin(self, said: Said, *, by_database: int, known: int, ends: datetime) -> Begun:
        """Begin a count that ends then, or raise it, to what all have used by the database, and as far as this process knows.

        In the life that this process knows, the count itself knows better than the process.
        """
        until = int((ends + _KEPT_BEHIND).timestamp())
        arguments: list[str | int] = [
            self._process,
            said.life,
            said.mine,
            by_database,
            known,
            uuid4().hex,
            until,
        ]
        life, used, mine = await self._ask(lambda: self._begin(keys=_keys([said]), args=arguments))
        return Begun(life if isinstance(life, str) else life.decode(), int(used), int(mine))

    async def _ask(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        if self._monotonic() < self._away_until:
            raise Unavailable("redis did not answer a moment ago")
        try:
            return await ask()
        except (RedisError, OSError) as error:
            self._away_until = self._monotonic() + _PAUSE_S
            raise Unavailable(f"redis did not answer ({type(error).__name__})") from None


def _keys(said: Sequence[Said]) -> list[str]:
    return [_PREFIX + one.key for one in said]

"""Which replica has which session, and what it takes to rebuild one whose replica is gone.

A session lives in one process; Redis holds its owner and a sealed record. Both are forgotten when the session is not used for
`lifetime_s`, and either can be rebuilt: without Redis a session works on the process that has it, and nowhere else.
"""

from collections.abc import Collection
from typing import cast
from uuid import UUID

import structlog
from pydantic import JsonValue, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.cache.sealing import Seal
from devops_mcp.models.base import Model
from devops_mcp.models.errors import Unavailable
from devops_mcp.models.principals import Principal

log = structlog.get_logger()

_PREFIX = "devops-mcp:session:"
_OWNER, _RECORD = b"owner", b"record"

# Written only by the process that has the session: one that was thought dead must not undo what its successor wrote.
_SAVE = """
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner and owner ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'record', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_TAKE_OVER = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_FORGET = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class SessionRecord(Model):
    """A session as another process needs it: whose it is, and the messages that bring a new one to where it was."""

    tenant_id: UUID
    principal_id: UUID
    lasting: bool
    """Whether it can be rebuilt. One that is a single connection cannot: it ends with it."""
    began_with: dict[str, JsonValue]
    """Params of `initialize`."""
    since: tuple[dict[str, JsonValue], ...] = ()
    """Requests that changed what the session is, such as subscriptions."""

    def belongs_to(self, principal: Principal) -> bool:
        """Whether it was this principal who began it."""
        return (self.tenant_id, self.principal_id) == (principal.tenant_id, principal.id)


class FoundSession(Model):
    owner: str
    record: SessionRecord


class SessionRecords:
    """All sessions of all replicas. Every method raises `Unavailable` without Redis."""

    def __init__(self, redis: Redis, seal: Seal, own_id: str, *, lifetime_s: int) -> None:
        self._redis = redis
        self._seal = seal
        self._own_id = own_id
        self._lifetime_s = lifetime_s
        self._save = redis.register_script(_SAVE)
        self._take_over = redis.register_script(_TAKE_OVER)
        self._forget = redis.register_script(_FORGET)

    async def save(self, session_id: str, record: SessionRecord) -> bool:
        """Write the record of a session this process has; False where another has it by now."""
        key = _PREFIX + session_id
        sealed = self._seal.close(record.model_dump_json().encode(), key)
        try:
            return bool(await self._save([key], [self._own_id, sealed, self._lifetime_s]))
        except (RedisError, OSError) as error:
            raise _away(error) from None

    async def find(self, session_id: str) -> FoundSession | None:
        """Who has the session, and its record; None where there is no such session."""
        key = _PREFIX + session_id
        try:
            fields = await self._redis.hmget(key, [_OWNER, _RECORD])
        except (RedisError, OSError) as error:
            raise _away(error) from None
        owner, sealed = cast("list[bytes | None]", fields)
        if owner is None or sealed is None or (opened := self._seal.open(sealed, key)) is None:
            return None
        try:
            return FoundSession(owner=owner.decode(), record=SessionRecord.model_validate_json(opened))
        except ValidationError:
            log.warning("session record not understood", size=len(opened))
            return None

    async def take_over(self, session_id: str, owner: str) -> bool:
        """Make this process the owner of a session that `owner` had; False where somebody else was quicker."""
        try:
            took = await self._take_over([_PREFIX + session_id], [owner, self._own_id, self._lifetime_s])
        except (RedisError, OSError) as error:
            raise _away(error) from None
        return bool(took)

    async def forget(self, session_id: str, owner: str | None = None) -> None:
        """The session has ended. Does nothing where neither this process nor `owner` has it."""
        try:
            await self._forget([_PREFIX + session_id], [owner or self._own_id])
        except (RedisError, OSError) as error:
            raise _away(error) from None

    async def prolong(self, session_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Keep these sessions of ours for another lifetime; gives those that Redis does not know, and those that another has."""
        ordered = list(session_ids)
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for session_id in ordered:
                    pipeline.expire(_PREFIX + session_id, self._lifetime_s)
                    pipeline.hget(_PREFIX + session_id, "owner")
                owners = (await pipeline.execute())[1::2]
        except (RedisError, OSError) as error:
            raise _away(error) from None
        known = dict(zip(ordered, owners, strict=True))
        unknown = {session_id for session_id, owner in known.items() if owner is None}
        lost = {
            session_id for session_id, owner in known.items() if owner not in (None, self._own_id.encode())
        }
        return unknown, lost


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"redis cannot be reached ({type(error).__name__})", retry_after_s=1)

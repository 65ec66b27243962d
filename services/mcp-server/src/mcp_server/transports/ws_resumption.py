"""What a client of the handshake era finds again when it reconnects within ten minutes: its subscriptions, and what it missed of them.

A connection has a session id, told with the 101 answer. Who comes back with it, by header or in the address, as the same principal and on
any replica, is subscribed as before and told of what happened meanwhile. Answers to calls that were under way are not kept.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.sealing import Seal
from devops_mcp.models.base import Clock, Model, utc_now
from devops_mcp.models.principals import Principal

LASTS_S = 600
_PREFIX = "devops-mcp:ws-session:"
_OVERLAP = timedelta(seconds=5)
"""Events that were being told when the connection broke are told again rather than not at all."""
log = structlog.get_logger()


class Left(Model):
    """What a connection was when it ended."""

    tenant_id: UUID
    principal_id: UUID
    uris: tuple[str, ...]
    since: datetime


class Resumption:
    """Keeps what ended connections listened to."""

    def __init__(self, redis: Redis, keyring: Keyring, *, now: Clock = utc_now) -> None:
        self._redis = redis
        self._seal = Seal(keyring.keys("websocket sessions"))
        self._now = now

    async def leave(self, session_id: str, principal: Principal, uris: frozenset[str]) -> None:
        """Remember the connection; without Redis it is forgotten, and its client subscribes anew."""
        left = Left(
            tenant_id=principal.tenant_id,
            principal_id=principal.id,
            uris=tuple(sorted(uris)),
            since=self._now() - _OVERLAP,
        )
        place = _place(session_id)
        try:
            await self._redis.set(place, self._seal.close(left.model_dump_json().encode(), place), ex=LASTS_S)
        except (RedisError, OSError) as error:
            log.warning("websocket session not kept", error=type(error).__name__)

    async def come_back(self, session_id: str, principal: Principal) -> Left | None:
        """What the session left, once; None where there is nothing, or it is another's."""
        place = _place(session_id)
        try:
            sealed = await self._redis.get(place)
        except (RedisError, OSError):
            return None
        opened = self._seal.open(sealed, place) if isinstance(sealed, bytes) else None
        try:
            left = Left.model_validate_json(opened) if opened is not None else None
        except ValidationError:
            return None  # kept by another version of ours
        if left is None or (left.tenant_id, left.principal_id) != (principal.tenant_id, principal.id):
            return None
        with suppress(RedisError, OSError):
            await self._redis.delete(place)
        return left


def _place(session_id: str) -> str:
    return _PREFIX + sha256(session_id.encode()).hexdigest()

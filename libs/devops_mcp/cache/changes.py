"""That a list changed (of tools, of prompts, of resources): told to all replicas, so that each tells its clients."""

from collections.abc import AsyncIterator
from typing import TypeAlias
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from devops_mcp.cache.channel import Channel, Gap
from devops_mcp.models.base import Model
from devops_mcp.models.lists import Listed

log = structlog.get_logger()
CHANNEL = "devops-mcp:lists"


class ListChange(Model):
    """Whose list, and of what."""

    tenant_id: UUID
    what: Listed


Heard: TypeAlias = ListChange | Gap
_CHANGE = TypeAdapter(ListChange)


class ListChanges:
    """Says and hears that lists changed."""

    def __init__(self, redis: Redis, *, channel: str = CHANNEL) -> None:
        self._channel = Channel(redis, channel)

    async def publish(self, tenant_id: UUID, what: Listed) -> None:
        """Tell every replica. Where Redis does not take it, clients learn of the change when they list again."""
        await self._channel.say(_CHANGE.dump_json(ListChange(tenant_id=tenant_id, what=what)))

    async def listen(self) -> AsyncIterator[Heard]:
        """Every change from now on, for ever."""
        async for heard in self._channel.hear():
            if isinstance(heard, Gap):
                yield heard
                continue
            try:
                yield _CHANGE.validate_json(heard)
            except ValidationError:
                log.warning("list change not understood", size=len(heard))

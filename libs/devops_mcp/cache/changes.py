"""That something clients hold has changed (a list of what is offered, a resource): told to all replicas, so that each tells its clients."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import structlog
from pydantic import Field, TypeAdapter, ValidationError
from redis.asyncio import Redis

from devops_mcp.cache.channel import Channel, Gap
from devops_mcp.models.base import Model
from devops_mcp.models.lists import Listed
from devops_mcp.resilience.afterwards import afterwards

log = structlog.get_logger()
CHANNEL = "devops-mcp:changes"
TOGETHER_S = 0.01


class ListChange(Model):
    """Whose list, and of what."""

    kind: Literal["list"] = "list"
    tenant_id: UUID
    what: Listed


class ResourceChange(Model):
    """Which resource of which tenant; who may read it is asked when somebody subscribes."""

    kind: Literal["resource"] = "resource"
    tenant_id: UUID
    uri: str


Change: TypeAlias = Annotated[ListChange | ResourceChange, Field(discriminator="kind")]
Heard: TypeAlias = ListChange | ResourceChange | Gap
_CHANGE: TypeAdapter[ListChange | ResourceChange] = TypeAdapter(Change)


class Changes:
    """Says and hears what changed. Where Redis does not take it, a client learns of it when it next reads.

    What changes within `TOGETHER_S` is said at once, each thing once: who writes waits for none of it.
    """

    def __init__(self, redis: Redis, *, channel: str = CHANNEL) -> None:
        self._channel = Channel(redis, channel)
        self._unsaid: dict[bytes, None] = {}
        self._saying: asyncio.Task[None] | None = None

    async def of_list(self, tenant_id: UUID, what: Listed) -> None:
        """Tell that a list changed."""
        await self._tell(ListChange(tenant_id=tenant_id, what=what))

    async def of_resource(self, tenant_id: UUID, uri: str) -> None:
        """Tell that a resource changed, or is gone."""
        await self._tell(ResourceChange(tenant_id=tenant_id, uri=uri))

    async def listen(self) -> AsyncIterator[Heard]:
        """Every change from now on, for ever."""
        async for heard in self._channel.hear():
            if isinstance(heard, Gap):
                yield heard
                continue
            try:
                yield _CHANGE.validate_json(heard)
            except ValidationError:
                log.warning("change not understood", size=len(heard))

    async def close(self) -> None:
        """Return when all is said."""
        if self._saying is not None:
            await self._saying

    async def _tell(self, change: ListChange | ResourceChange) -> None:
        async def soon() -> None:
            self._unsaid[change.model_dump_json().encode()] = None
            if self._saying is None or self._saying.done():
                self._saying = asyncio.create_task(self._say(), name="changes")

        await afterwards(soon)

    async def _say(self) -> None:
        while self._unsaid:
            await asyncio.sleep(TOGETHER_S)
            unsaid, self._unsaid = self._unsaid, {}
            await self._channel.say(*unsaid)

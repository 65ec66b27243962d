"""Messages from one replica of a service to another, over Redis: every replica reaches every other with nothing to configure.

Redis keeps none of them. A message either reaches a replica that listens, or its sender is told that nobody does: a process that died
is known to Redis at once, because its connection is closed with it.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.cache.channel import Channel, Gap
from devops_mcp.cache.sealing import Seal
from devops_mcp.models.errors import Unavailable
from devops_mcp.resilience.backoff import Backoff

log = structlog.get_logger()

Hear: TypeAlias = Callable[[bytes], None]

_CHANNEL = "devops-mcp:replica:"
_MARK = 16
_REMEMBERED = 10_000
"""Marks of messages heard, so that one that is played again is not heard again."""


class Replicas:
    """This process among its like. `running` listens; `tell` speaks to another."""

    def __init__(self, redis: Redis, seal: Seal, *, reconnect: Backoff | None = None) -> None:
        self.own_id = secrets.token_hex(8)
        self._redis = redis
        self._seal = seal
        self._reconnect = reconnect or Backoff(first_s=0.05, cap_s=1.0)
        self._heard: OrderedDict[bytes, None] = OrderedDict()

    @asynccontextmanager
    async def running(
        self, hear: Hear, interrupted: Callable[[], None], resumed: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Hand what others tell to `hear`, in order, until the block ends.

        `interrupted` is called when messages may have been lost, `resumed` when they arrive (again).
        """
        task = asyncio.create_task(self._listen(hear, interrupted, resumed), name="replica messages")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def tell(self, replica: str, body: bytes) -> bool:
        """Whether the message reached a process that listens under that id. Raises `Unavailable` without Redis."""
        channel = _CHANNEL + replica
        marked = secrets.token_bytes(_MARK) + body
        try:
            return bool(await self._redis.publish(channel, self._seal.close(marked, channel)))
        except (RedisError, OSError) as error:
            raise _away(error) from None

    async def living(self, replicas: Collection[str]) -> set[str]:
        """Which of them listen. Raises `Unavailable` without Redis."""
        try:
            counted = cast(
                "list[tuple[bytes, int]]",
                await self._redis.pubsub_numsub(*(_CHANNEL + replica for replica in replicas)),
            )
        except (RedisError, OSError) as error:
            raise _away(error) from None
        return {channel.decode().removeprefix(_CHANNEL) for channel, listeners in counted if listeners}

    async def _listen(
        self, hear: Hear, interrupted: Callable[[], None], resumed: Callable[[], Awaitable[None]]
    ) -> None:
        channel = Channel(self._redis, _CHANNEL + self.own_id, reconnect=self._reconnect)
        async for heard in channel.hear():
            match heard:
                case Gap(listening=True):
                    await resumed()
                case Gap():
                    interrupted()
                case sealed:
                    if (body := self._opened(sealed)) is not None:
                        hear(body)

    def _opened(self, sealed: bytes) -> bytes | None:
        marked = self._seal.open(sealed, _CHANNEL + self.own_id)
        if marked is None or marked[:_MARK] in self._heard:
            log.warning("replica message refused", size=len(sealed), repeated=marked is not None)
            return None
        self._heard[marked[:_MARK]] = None
        if len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)
        return marked[_MARK:]


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"redis cannot be reached ({type(error).__name__})", retry_after_s=1)

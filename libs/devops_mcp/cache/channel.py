"""A channel between replicas over Redis: what is said reaches whoever listens at that moment, and is kept nowhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from devops_mcp.resilience.backoff import Backoff

log = structlog.get_logger()

_SILENCE_S = 5.0
"""After so long without a word the connection is asked whether it lives; after twice as long it is given up."""
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Gap:
    """Something may have been missed before this point; `listening` says whether it arrives from here on."""

    listening: bool


class Channel:
    """Says and hears bytes."""

    def __init__(
        self,
        redis: Redis,
        name: str,
        *,
        reconnect: Backoff | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._name = name
        self._reconnect = reconnect or Backoff(first_s=0.1, cap_s=1.0)
        self._monotonic = monotonic
        self._paused_until = 0.0

    async def say(self, *bodies: bytes) -> bool:
        """Tell every listener. False, and logged, when Redis did not take it.

        After a failure Redis is left alone for a second, so that one that hangs does not hold up who speaks.
        """
        if self._monotonic() < self._paused_until:
            return False
        try:
            if len(bodies) == 1:
                await self._redis.publish(self._name, bodies[0])
            else:
                await self._publish_all(bodies)
        except (RedisError, OSError) as error:
            self._paused_until = self._monotonic() + _PAUSE_S
            log.warning("channel not taken", channel=self._name, error=type(error).__name__)
            return False
        return True

    async def _publish_all(self, bodies: Sequence[bytes]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for body in bodies:
                pipeline.publish(self._name, body)
            await pipeline.execute()

    async def hear(self) -> AsyncIterator[bytes | Gap]:
        """Everything that is said from now on, for ever. A `Gap` comes at each connection made and lost."""
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    async for heard in self._heard(pubsub):
                        failures = 0
                        yield heard
            except (RedisError, OSError) as error:
                _end_if_cancelled()
                failures += 1
                if failures == 1:
                    log.warning("channel interrupted", channel=self._name, error=type(error).__name__)
            yield Gap(listening=False)
            await asyncio.sleep(self._reconnect.delay_s(failures))

    async def _heard(self, pubsub: PubSub) -> AsyncIterator[bytes | Gap]:
        await pubsub.subscribe(self._name)
        silences = 0
        while True:
            frame = await pubsub.get_message(timeout=_SILENCE_S)
            _end_if_cancelled()
            if frame is not None:
                silences = 0
                if frame["type"] == "subscribe":
                    yield Gap(listening=True)
                elif frame["type"] == "message" and isinstance(frame["data"], bytes):
                    yield frame["data"]
                continue
            silences += 1
            if silences > 1:
                raise RedisConnectionError("no answer to a ping")
            await pubsub.ping()


def _end_if_cancelled() -> None:
    """Pass a cancellation on that redis-py took for a time-out or a lost connection (seen with 8.1, one in fifteen while it connects)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

"""Notices between replicas: an event has been processed, whoever has subscribers for it may tell them.

A notice is a hint. Redis keeps none, so a reader that was away is told that there is a gap and reads PostgreSQL, which has the truth.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from devops_mcp.models.base import Model
from devops_mcp.observability.metrics import Metrics
from devops_mcp.resilience.backoff import Backoff

log = structlog.get_logger()

CHANNEL = "devops-mcp:notices"
_SILENCE_S = 5.0
"""After so long without a word the connection is asked whether it lives; after twice as long it is given up."""
_PAUSE_S = 1.0


class Notice(Model):
    """An event was processed. `traceparent` is that of its processing; `uri` reads the event."""

    tenant_id: UUID
    event_id: UUID
    type: str
    system: str
    source: str
    subject: str
    title: str
    uri: str
    occurred_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Notices may have been missed before this point; `listening` says whether they arrive from here on."""

    listening: bool


Heard: TypeAlias = Notice | Gap

_NOTICES: TypeAdapter[tuple[Notice, ...]] = TypeAdapter(tuple[Notice, ...])


class Notices:
    """Publishes and hears notices of all tenants; the hearer tells tenants apart."""

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        channel: str = CHANNEL,
        reconnect: Backoff | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._metrics = metrics
        self._channel = channel
        self._reconnect = reconnect or Backoff(first_s=0.1, cap_s=1.0)
        self._monotonic = monotonic
        self._paused_until = 0.0

    async def publish(self, notices: Sequence[Notice]) -> bool:
        """Tell every listener, in one message. False, logged and counted, when Redis did not take it; nothing is lost by that.

        After a failure Redis is left alone for a second, so that one that hangs does not hold up who publishes.
        """
        if not notices:
            return True
        sent = self._monotonic() >= self._paused_until and await self._publish(
            _NOTICES.dump_json(tuple(notices))
        )
        self._metrics.notices("published" if sent else "unpublished", len(notices))
        return sent

    async def listen(self) -> AsyncIterator[Heard]:
        """Every notice from now on, for ever. A `Gap` comes at each connection made and lost."""
        failures = 0
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    async for heard in self._heard(pubsub):
                        failures = 0
                        yield heard
            except (RedisError, OSError) as error:
                failures += 1
                if failures == 1:
                    log.warning("notices interrupted", error=type(error).__name__)
            yield Gap(listening=False)
            await asyncio.sleep(self._reconnect.delay_s(failures))

    async def _publish(self, body: bytes) -> bool:
        try:
            await self._redis.publish(self._channel, body)
        except (RedisError, OSError) as error:
            self._paused_until = self._monotonic() + _PAUSE_S
            log.warning("notices not published", error=type(error).__name__)
            return False
        return True

    async def _heard(self, pubsub: PubSub) -> AsyncIterator[Heard]:
        await pubsub.subscribe(self._channel)
        silences = 0
        while True:
            frame = await pubsub.get_message(timeout=_SILENCE_S)
            if frame is not None:
                silences = 0
                for heard in _read(frame["type"], frame["data"]):
                    yield heard
                continue
            silences += 1
            if silences > 1:
                raise RedisConnectionError("no answer to a ping")
            await pubsub.ping()


def _read(kind: str, data: object) -> Sequence[Heard]:
    if kind == "subscribe":
        return (Gap(listening=True),)
    if kind != "message" or not isinstance(data, bytes):
        return ()
    try:
        return _NOTICES.validate_json(data)
    except ValidationError:
        # From another version of ours, or not from us at all: PostgreSQL knows what it should have said.
        log.warning("notice not understood", size=len(data))
        return (Gap(listening=True),)

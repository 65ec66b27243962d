"""Notices between replicas: an event has been processed, whoever has subscribers for it may tell them.

A notice is a hint. Redis keeps none, so a reader that was away is told that there is a gap and reads PostgreSQL, which has the truth.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from devops_mcp.cache.channel import Channel, Gap
from devops_mcp.models.base import Model
from devops_mcp.observability.metrics import Metrics
from devops_mcp.resilience.backoff import Backoff

log = structlog.get_logger()

CHANNEL = "devops-mcp:notices"


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
        self._channel = Channel(redis, channel, reconnect=reconnect, monotonic=monotonic)
        self._metrics = metrics

    async def publish(self, notices: Sequence[Notice]) -> bool:
        """Tell every listener, in one message. False, logged and counted, when Redis did not take it; nothing is lost by that."""
        if not notices:
            return True
        sent = await self._channel.say(_NOTICES.dump_json(tuple(notices)))
        self._metrics.notices("published" if sent else "unpublished", len(notices))
        return sent

    async def listen(self) -> AsyncIterator[Heard]:
        """Every notice from now on, for ever. A `Gap` comes at each connection made and lost."""
        async for heard in self._channel.hear():
            for told in (heard,) if isinstance(heard, Gap) else _read(heard):
                yield told


def _read(data: bytes) -> Sequence[Heard]:
    try:
        return _NOTICES.validate_json(data)
    except ValidationError:
        # From another version of ours, or not from us at all: PostgreSQL knows what it should have said.
        log.warning("notice not understood", size=len(data))
        return (Gap(listening=True),)

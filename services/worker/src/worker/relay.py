"""The relay: publishes what transactions left in the outbox.

Any number of relays run at once without a leader: each takes rows that no other holds, publishes them, and removes them in the transaction
that locked them. One that dies in between publishes a row twice, under the same message id, and the consumer gives it its effect once.

Where order is kept, a group's first row stands for the group: who has locked it is alone at it, and the next is nobody's before it is gone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import structlog

from devops_mcp.events.queues import QueueName
from devops_mcp.events.sqs import BATCH, Outgoing, SqsQueue
from devops_mcp.models.errors import PlatformError
from devops_mcp.observability.metrics import Metrics
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.outbox import OUTBOX_CHANNEL, OutboxRow
from worker.stopping import unless_stopped

log = structlog.get_logger()

TAKE = 100
"""Rows a transaction: ten batches, published at once."""
_PUBLISH_S = 10.0
_MEASURE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class _Step:
    """How many rows were published, which queues did not take all of theirs, and whether there may be more that others would."""

    published: int
    failing: set[str]
    more: bool


class OutboxRelay:
    """Runs until it is told to stop; `publish_some` is one step of it."""

    def __init__(
        self,
        database: Database,
        queues: Mapping[QueueName, SqsQueue],
        metrics: Metrics,
        *,
        every_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._queues = queues
        self._metrics = metrics
        self._every_s = every_s
        self._monotonic = monotonic
        self._measured_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish whatever comes into the outbox until `stop`; what is under way then is finished."""
        async with aclosing(self._database.notices(OUTBOX_CHANNEL, every_s=self._every_s)) as wakes:
            while await unless_stopped(stop, _woken(wakes)):
                await self._empty(stop)

    async def publish_some(self) -> int:
        """Publish up to `TAKE` of the oldest rows that no other relay holds; return how many left the outbox."""
        return (await self._step(())).published

    async def _step(self, without: Collection[str]) -> "_Step":
        async with self._database.relaying() as outbox:
            rows = await outbox.take(TAKE, without=without)
            published = await self._publish(rows)
            if published:
                await outbox.remove(published)
        gone = set(published)
        successors = any(row.group_id is not None and row.id in gone for row in rows)
        failing = {row.queue for row in rows if row.id not in gone}
        return _Step(len(gone), failing, more=successors or len(rows) == TAKE)

    async def _empty(self, stop: asyncio.Event) -> None:
        """Publish until nothing is left but what its queue does not take; that is tried again the next time."""
        started = self._monotonic()
        total, failing = 0, set[str]()
        try:
            while not stop.is_set():
                step = await self._step(failing)
                total += step.published
                failing |= step.failing
                if not step.more:
                    break
            await self._measure()
        except PlatformError as error:
            log.warning("outbox not relayed", code=error.code, reason=error.message)
        except Exception:  # the worker loop: one row's fault must not end it
            log.exception("outbox not relayed")
        if total:
            log.info(
                "outbox relayed",
                count=total,
                outcome="ok",
                duration_ms=round((self._monotonic() - started) * 1_000, 1),
            )

    async def _publish(self, rows: Sequence[OutboxRow]) -> list[UUID]:
        batches = [batch for name in QueueName for batch in _batches([r for r in rows if r.queue == name])]
        outcomes = await asyncio.gather(*(self._publish_batch(batch) for batch in batches))
        return [id_ for published in outcomes for id_ in published]

    async def _publish_batch(self, batch: Sequence[OutboxRow]) -> list[UUID]:
        """The ids of the rows that the queue has taken; the others stay where they are."""
        name = QueueName(batch[0].queue)
        try:
            async with asyncio.timeout(_PUBLISH_S):
                refused = await self._queues[name].send_batch([_outgoing(row) for row in batch])
        except (PlatformError, TimeoutError) as error:
            log.warning("batch not published", queue=name, count=len(batch), error=type(error).__name__)
            return []
        published = [row.id for position, row in enumerate(batch) if position not in refused]
        self._metrics.outbox_published(name, len(published))
        return published

    async def _measure(self) -> None:
        if self._monotonic() - self._measured_at < _MEASURE_EVERY_S:
            return
        self._measured_at = self._monotonic()
        async with self._database.relaying() as outbox:
            self._metrics.outbox_pending.set(await outbox.pending())


def _outgoing(row: OutboxRow) -> Outgoing:
    if row.group_id is None:
        return Outgoing(body=row.message, traceparent=row.trace)
    return Outgoing(
        body=row.message,
        traceparent=row.trace,
        group=f"{row.tenant_id}:{row.group_id}",
        # The row's, not the message's alone: what is sent again from the dead letters is meant, and has another place.
        deduplication_id=f"{row.id}:{row.place}",
    )


async def _woken(wakes: AsyncIterator[None]) -> bool:
    await anext(wakes)
    return True


def _batches(rows: Sequence[OutboxRow]) -> list[Sequence[OutboxRow]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

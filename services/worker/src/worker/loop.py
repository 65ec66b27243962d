"""The life of a queue's messages in this process: received, kept, handled in groups, and acknowledged, returned or buried.

Messages that came together and belong to one tenant and type are handled as a group, in one transaction: that is what makes the worker
fast. When a group fails through one of its messages, each is tried alone, so that only that one suffers.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

import structlog
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from devops_mcp.events.messages import MESSAGE, Message
from devops_mcp.events.queues import QueueSpec
from devops_mcp.events.sqs import BATCH, Received, SqsQueue
from devops_mcp.models.errors import DeadlineExceeded, PlatformError, Unavailable
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import beside, continued
from devops_mcp.resilience.backoff import Backoff
from worker.disposition import Bury, Retry, dispose
from worker.held import Held, holding
from worker.stopping import unless_stopped

log = structlog.get_logger()

Handle: TypeAlias = Callable[[UUID, Sequence[Message], Mapping[UUID, str]], Awaitable[set[UUID]]]
"""Gives messages of one tenant and type their effect; see `worker.handlers`."""

_WAIT_S = 20
_PROBE_EVERY_S = 0.5
_KEPT_S = 10.0
"""So long a group is kept for the end of an outage; then others, who may be better off, get it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a queue is consumed; no queue takes capacity from another.

    `slots` handlers run at once. There are `ahead` more loops than these, which receive and acknowledge meanwhile. Each loop receives
    `batch` messages and, where there were as many, up to `further` times ten more at once, so that a group grows with the backlog and a
    lone message does not wait. A group that an outage of our own parts prevented is kept and tried again up to `patience` times: to
    deliver it anew would use up an attempt of each of its messages.
    """

    slots: int = 4
    ahead: int = 0
    batch: int = BATCH
    further: int = 4
    handler_timeout_s: float = 10.0
    patience: int = 2
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, cap_s=300.0))


@dataclass(frozen=True, slots=True)
class Work:
    """A received message, read."""

    received: Received
    message: Message


class Consumer:
    """Consumes one queue. `probe` tells, by not raising, that the handlers' own parts work again after an outage."""

    def __init__(
        self,
        queue: SqsQueue,
        spec: QueueSpec,
        handle: Handle,
        probe: Callable[[], Awaitable[None]],
        metrics: Metrics,
        policy: Policy | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._spec = spec
        self._handle = handle
        self._probe = probe
        self._metrics = metrics
        self._policy = policy or Policy()
        self._monotonic = monotonic
        self._attributes = {"messaging.destination.name": spec.name.value}
        self._room = asyncio.Semaphore(self._policy.slots)

    async def run(self, stop: asyncio.Event, *, drain_timeout_s: float) -> None:
        """Consume until `stop`, then finish what is under way; what is not finished in time is given back."""
        async with asyncio.TaskGroup() as tasks:
            slots = [
                tasks.create_task(self._consume(stop), name=f"{self._spec.name} {n}")
                for n in range(self._policy.slots + self._policy.ahead)
            ]
            await stop.wait()
            await asyncio.wait(slots, timeout=drain_timeout_s)
            for slot in slots:
                slot.cancel()

    async def _consume(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._consume_batch(stop)
            except Exception:  # the worker loop: a fault of ours must not end it
                log.exception("queue not consumed", queue=self._spec.name)
                await unless_stopped(stop, asyncio.sleep(_PROBE_EVERY_S))

    async def _consume_batch(self, stop: asyncio.Event) -> None:
        try:
            batch = await self._receive(stop)
        except PlatformError as error:
            log.warning("queue not readable", queue=self._spec.name, code=error.code, reason=error.message)
            await unless_stopped(stop, asyncio.sleep(_PROBE_EVERY_S))
            return
        if batch and not await self._work_off(batch, stop):
            await self._until_well(stop)

    async def _receive(self, stop: asyncio.Event) -> list[Received]:
        receiving = self._queue.receive(self._policy.batch, wait_s=_WAIT_S)
        first = await unless_stopped(stop, receiving, settled_after_s=self._queue.answering_s) or []
        if len(first) < self._policy.batch or not self._policy.further or stop.is_set():
            return first
        more = await asyncio.gather(
            *(self._queue.receive(wait_s=0) for _ in range(self._policy.further)), return_exceptions=True
        )
        return first + [received for batch in more if isinstance(batch, list) for received in batch]

    async def _work_off(self, batch: Sequence[Received], stop: asyncio.Event) -> bool:
        """Handle and settle a batch; False when one of our own parts was out of order."""
        async with holding(self._queue, self._spec, batch) as held:
            if self._spec.fifo:
                ordered = _by_order(batch)
                well = await asyncio.gather(
                    *(self._work_off_in_order(group, held, stop) for group in ordered)
                )
                return all(well)
            work = [read for received in batch if (read := await self._read(received, held))]
            well = await asyncio.gather(*(self._work_off_group(group, held, stop) for group in _groups(work)))
        return all(well)

    async def _work_off_in_order(self, group: Sequence[Received], held: Held, stop: asyncio.Event) -> bool:
        """One after the other; what follows one that stays in the queue goes back with it, because nothing may overtake."""
        for n, received in enumerate(group, 1):
            work = await self._read(received, held)
            well = work is None or await self._work_off_group([work], held, stop)
            if not held.is_over(received):
                await held.give_back(group[n:], 0)
                return well
        return True

    async def _read(self, received: Received, held: Held) -> Work | None:
        try:
            return Work(received, MESSAGE.validate_json(received.body))
        except ValidationError as error:
            await self._fail(received, error, held)
            return None

    async def _work_off_group(self, group: Sequence[Work], held: Held, stop: asyncio.Event) -> bool:
        """Handle a group together and, when that failed through one of them, each alone."""
        error = await self._try_through_outages(group, held, stop)
        if error is None:
            return True
        if len(group) > 1 and not isinstance(error, Unavailable):
            return all([await self._work_off_group([work], held, stop) for work in group])
        for work in group:
            await self._fail(work.received, error, held)
        return not isinstance(error, Unavailable)

    async def _try_through_outages(
        self, group: Sequence[Work], held: Held, stop: asyncio.Event
    ) -> Exception | None:
        error = await self._try(group, held)
        for _ in range(self._policy.patience):
            if not isinstance(error, Unavailable) or stop.is_set():
                break
            await unless_stopped(stop, asyncio.sleep(_PROBE_EVERY_S))
            with suppress(TimeoutError):
                async with asyncio.timeout(_KEPT_S):
                    await self._until_well(stop)
            error = await self._try(group, held)
        return error

    async def _try(self, group: Sequence[Work], held: Held) -> Exception | None:
        """Handle a group, once there is room for it, and acknowledge it; return what prevented it."""
        try:
            async with self._room:
                await self._handle_traced(group)
        except TimeoutError:
            return DeadlineExceeded(f"the handler took longer than {self._policy.handler_timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - the worker loop: one message's fault must not end it
            return error
        await held.acknowledge([work.received for work in group])
        return None

    async def _handle_traced(self, group: Sequence[Work]) -> None:
        started = self._monotonic()
        messages = [work.message for work in group]
        carriers = [work.received.carrier for work in group]
        with beside(
            carriers, f"process {messages[0].type}", SpanKind.CONSUMER, self._attributes
        ) as traceparents:
            traces = {message.id: trace for message, trace in zip(messages, traceparents, strict=True)}
            async with asyncio.timeout(self._policy.handler_timeout_s):
                fresh = await self._handle(messages[0].tenant_id, messages, traces)
            self._record(messages, fresh, self._monotonic() - started)

    async def _fail(self, received: Received, error: Exception, held: Held) -> None:
        """Return or bury a message whose handler raised `error`."""
        decided = dispose(
            error,
            attempt=received.attempt,
            max_attempts=self._spec.max_receives,
            backoff=self._policy.backoff,
        )
        with continued(received.carrier, f"fail {self._spec.name}"):
            match decided:
                case Retry(delay_s, reason):
                    await held.give_back([received], delay_s)
                    self._log_failure(received, "message returned", reason, error, delay_s=delay_s)
                    self._metrics.queue_messages(self._spec.name, "returned", 0.0)
                case Bury(reason):
                    await held.bury(received, reason)
                    self._log_failure(received, "message buried", reason, error)
                    self._metrics.queue_messages(self._spec.name, "dead", 0.0)

    def _log_failure(
        self, received: Received, what: str, reason: str, error: Exception, **more: object
    ) -> None:
        # Ours say all in their reason; of any other the traceback is wanted.
        expected = isinstance(error, PlatformError | ValidationError)
        log.warning(
            what,
            queue=self._spec.name,
            message_id=received.message_id,
            attempt=received.attempt,
            reason=reason,
            exc_info=None if expected else error,
            **more,
        )

    def _record(self, messages: Sequence[Message], fresh: set[UUID], seconds: float) -> None:
        duplicates = sum(message.id not in fresh for message in messages)
        for outcome, count in (("done", len(messages) - duplicates), ("duplicate", duplicates)):
            if count:
                self._metrics.queue_messages(self._spec.name, outcome, seconds, count)
        log.info(
            "messages handled",
            queue=self._spec.name,
            type=messages[0].type,
            tenant_id=str(messages[0].tenant_id),
            count=len(messages),
            duplicates=duplicates,
            outcome="ok",
            duration_ms=round(seconds * 1_000, 1),
        )

    async def _until_well(self, stop: asyncio.Event) -> None:
        """Wait until the handlers' parts answer again, so that an outage does not use up the messages' attempts."""
        while not stop.is_set():
            try:
                await self._probe()
            except PlatformError:
                await unless_stopped(stop, asyncio.sleep(_PROBE_EVERY_S))
            else:
                return


def _groups(work: Iterable[Work]) -> list[list[Work]]:
    """Messages by tenant and type."""
    groups: defaultdict[tuple[UUID, str], list[Work]] = defaultdict(list)
    for one in work:
        groups[one.message.tenant_id, one.message.type].append(one)
    return list(groups.values())


def _by_order(batch: Iterable[Received]) -> list[list[Received]]:
    """Messages of a FIFO queue by group, each group in its order."""
    groups: defaultdict[str | None, list[Received]] = defaultdict(list)
    for received in batch:
        groups[received.group].append(received)
    return list(groups.values())

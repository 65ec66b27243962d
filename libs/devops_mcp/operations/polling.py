"""Asking systems for what they do not tell, in the worker: one look at a time over all workers, from where the last one ended.

A look is made outside of any transaction. What it found, the outbox's messages for it and the cursor behind it are then one transaction,
which the fence lets through only once: whoever is killed at whatever moment, nothing is left out and nothing is published twice.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from devops_mcp.adapters.base import Origin
from devops_mcp.adapters.polls import Found, Poll, Polled
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import DeadlineExceeded, InvalidInput, PlatformError
from devops_mcp.models.polling import PollerKey, PollerState, Turn
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import TRACEPARENT, carry, spanned
from devops_mcp.operations.events import document_of, identities
from devops_mcp.operations.integrations import Integration, Integrations, Polling
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.events import Acceptance
from devops_mcp.repositories.transaction import Transaction
from devops_mcp.resilience.backoff import Backoff

DEADLINE_S = 30.0
"""Of one look."""
LEASE = timedelta(seconds=45)
"""Longer than a look; when its worker dies, another one looks after this."""
LOOK_AGAIN_S = 15.0
"""How often a poller that is not ours to run is looked after: its worker may be gone, its tenant resumed."""
MAX_BACKOFF_S = 900.0
MAX_ASKED_S = 3_600.0
"""The longest pause that a system gets by asking for it."""
MAX_ERROR = 500
_SPREAD = 0.1
_AT_ONCE = 100
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Look:
    """A turn of one poller of one integration that this worker has."""

    integration: Integration
    polling: Polling
    turn: Turn

    @property
    def key(self) -> PollerKey:
        return key_of(self.integration, self.polling)


class PollRunner:
    """Takes turns and makes looks. `claim` first; then `make`, and where that raised, `fail`."""

    def __init__(
        self,
        database: Database,
        integrations: Integrations,
        metrics: Metrics,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        random_: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._integrations = integrations
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._random = random_
        self._known: dict[tuple[str, PollerKey], PollerState] = {}
        metrics.registry.register(_LagCollector(self._known.values, now))

    async def claim(self, integration: Integration, polling: Polling) -> Look | float:
        """The poller's next turn, or the seconds after which to ask again."""
        key = key_of(integration, polling)
        async with self._database.transaction(integration.tenant_id) as tx:
            state = await self._note(tx, key)
            if state is not None and state.due_in > timedelta(0):
                return min(state.due_in.total_seconds(), LOOK_AGAIN_S)
            turn = await tx.pollers.claim(key, integration.addresses(), LEASE)
        if turn is None:
            # Another was faster, or the tenant is suspended, and then its picture may grow old.
            self._known.pop((str(integration.tenant_id), key), None)
            return min(polling.every.total_seconds(), LOOK_AGAIN_S)
        return Look(integration, polling, turn)

    async def make(self, look: Look) -> float:
        """Look, and store what is new; the seconds until the next turn. Raises what the system or the database raises."""
        started = self._monotonic()
        origin = Origin(look.integration.tenant_id, look.integration.name)
        with spanned(f"poll {look.integration.adapter.name}"):
            poll = Poll(origin, look.turn.cursor, self._now())
            async with self._integrations.connected(look.integration) as client:
                polled = await look.polling.poller.fetch(client, poll)
            wait_s = self._pause_s(look, polled)
            stored = await self._store(look, polled, timedelta(seconds=wait_s))
        outcome = "lost" if stored is None else "ok"
        self._account_for(look, outcome, stored or 0, started)
        return LOOK_AGAIN_S if stored is None else wait_s

    async def fail(self, look: Look, error: Exception) -> float:
        """Write down that a look failed; the seconds until the next turn, longer with each failure and no shorter than asked for."""
        known = error if isinstance(error, PlatformError) else None
        if isinstance(error, TimeoutError):
            known = DeadlineExceeded(f"the look took longer than {DEADLINE_S:g} s")
        code, message = (known.code, known.message) if known else ("internal", type(error).__name__)
        wait_s = self._backoff_s(look, known.retry_after_s if known else None)
        async with self._database.transaction(look.integration.tenant_id) as tx:
            await tx.pollers.fail(
                look.key, look.turn.fence, code, message[:MAX_ERROR], timedelta(seconds=wait_s)
            )
            await self._note(tx, look.key)
        self._metrics.poll(look.integration.adapter.name, look.polling.poller.name, code, 0)
        log.warning(
            "poll failed",
            integration=look.integration.name,
            poller=look.polling.poller.name,
            code=code,
            reason=message,
            failures=look.turn.failures + 1,
            again_in_s=round(wait_s, 1),
            exc_info=error if known is None else None,
        )
        return wait_s

    async def release(self, look: Look) -> None:
        """Give a turn back that was not used."""
        async with self._database.transaction(look.integration.tenant_id) as tx:
            await tx.pollers.release(look.key, look.turn.fence)

    async def _store(self, look: Look, polled: Polled, wait: timedelta) -> int | None:
        """How many events were new; None where the turn is another's by now, and nothing was stored."""
        deliveries = _deliveries(look, polled.found)
        async with self._database.transaction(look.integration.tenant_id) as tx:
            if not await tx.pollers.finish(look.key, look.turn.fence, polled.cursor, wait):
                return None
            new = 0
            for start in range(0, len(deliveries), _AT_ONCE):
                new += len(await tx.events.accept_all(deliveries[start : start + _AT_ONCE]))
            await tx.pollers.count(look.key, new)
            await self._note(tx, look.key)
        return new

    async def _note(self, tx: Transaction, key: PollerKey) -> PollerState | None:
        state = await tx.pollers.find(key)
        if state is not None:
            self._known[str(tx.tenant_id), key] = state
        return state

    def _pause_s(self, look: Look, polled: Polled) -> float:
        if polled.more:
            return 0.0
        pause_s = max(look.polling.every, polled.pause).total_seconds()
        return pause_s * (1 + _SPREAD * self._random())

    def _backoff_s(self, look: Look, asked_s: float | None) -> float:
        """Half the usual pause at least, and full jitter on top; what the system asked for, where that is longer."""
        every_s = look.polling.every.total_seconds()
        backoff = Backoff(first_s=every_s, cap_s=max(every_s, MAX_BACKOFF_S), random=self._random)
        own_s = every_s / 2 + backoff.delay_s(look.turn.failures + 1)
        asked = min(asked_s or 0.0, MAX_ASKED_S) * (1 + _SPREAD * self._random())
        return max(own_s, asked)

    def _account_for(self, look: Look, outcome: str, events: int, started: float) -> None:
        system, poller = look.integration.adapter.name, look.polling.poller.name
        self._metrics.poll(system, poller, outcome, events)
        say = log.info if events or outcome != "ok" else log.debug
        say(
            "polled",
            integration=look.integration.name,
            poller=poller,
            outcome=outcome,
            count=events,
            duration_ms=round((self._monotonic() - started) * 1_000, 1),
        )


def key_of(integration: Integration, polling: Polling) -> PollerKey:
    return PollerKey(integration.name, polling.poller.name)


def _deliveries(look: Look, found: Sequence[Found]) -> list[Acceptance]:
    """Each thing found as a delivery of its own, once; one that cannot be stored is left out, or it would hold up all that follow."""
    trace = carry().get(TRACEPARENT)
    deliveries: dict[str, Acceptance] = {}
    for one in found:
        key = f"poll:{look.polling.poller.name}:{one.key}"
        try:
            document = document_of(one.event)
        except InvalidInput as error:
            log.warning("polled event left out", integration=look.integration.name, reason=error.message)
            continue
        taken = Acceptance(
            [one.event], [document], [key], one.payload, trace, event_keys=identities([one.event])
        )
        deliveries.setdefault(key, taken)
    return list(deliveries.values())


class _LagCollector(Collector):
    """How old our picture of each polled system is; integrations of one name in several tenants count as the oldest of them."""

    def __init__(self, states: Callable[[], Iterable[PollerState]], now: Callable[[], datetime]) -> None:
        self._states = states
        self._now = now

    def collect(self) -> Iterable[Metric]:
        lag = GaugeMetricFamily(
            "devops_mcp_poll_lag_seconds",
            "Time since a system was last polled without an error",
            labels=["integration", "poller"],
        )
        oldest: dict[PollerKey, float] = {}
        for state in list(self._states()):
            key = PollerKey(state.integration, state.poller)
            oldest[key] = max(oldest.get(key, 0.0), state.lag(self._now()).total_seconds())
        for key, seconds in oldest.items():
            lag.add_metric([*key], seconds)
        return (lag,)

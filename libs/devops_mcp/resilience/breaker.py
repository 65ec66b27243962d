"""A circuit breaker: stops asking a system that mostly fails, and asks again carefully."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from devops_mcp.models.errors import UpstreamError, UpstreamUnavailable
from devops_mcp.resilience.deadline import Monotonic

SLICES = 10


class CircuitOpen(UpstreamUnavailable):
    """The system failed so often lately that it was not asked; `retry_after_s` is when it will be."""

    code = "circuit_open"


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """`calls` and `failures` are those in the window; `opened` and `refused` count since the start."""

    state: BreakerState
    calls: int
    failures: int
    opened: int
    refused: int


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """Opens when of at least `min_calls` in the last `window_s` the share `failure_ratio` failed; after `open_s` lets `probes` through."""

    window_s: float = 30.0
    min_calls: int = 20
    failure_ratio: float = 0.5
    open_s: float = 15.0
    probes: int = 3


class Breaker:
    """Guards the calls to one system.

    A failure is an `UpstreamUnavailable`; any other `UpstreamError` is an answer, so the system lives. What says nothing about the system
    (a cancelled call, an error of our own) is not counted. Half open, `probes` calls must all succeed to close it; one failure opens it
    again.
    """

    def __init__(
        self, name: str, limits: BreakerLimits | None = None, now: Monotonic = time.monotonic
    ) -> None:
        self.name = name
        self._limits = limits or BreakerLimits()
        self._now = now
        self._window = _Window(self._limits.window_s)
        self._state = BreakerState.CLOSED
        self._epoch = 0
        self._opened_at = 0.0
        self._probing = 0
        self._probed = 0
        self._opened = 0
        self._refused = 0

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Let one call through and learn from its end; raises `CircuitOpen` instead when it must not be made."""
        epoch = self._admit()
        failed: bool | None = None
        try:
            yield
            failed = False
        except UpstreamUnavailable:
            failed = True
            raise
        except UpstreamError:
            failed = False
            raise
        finally:
            if epoch == self._epoch:
                self._settle(failed)

    def snapshot(self) -> BreakerSnapshot:
        calls, failures = self._window.counts(self._now())
        return BreakerSnapshot(self._state, calls, failures, self._opened, self._refused)

    def _admit(self) -> int:
        if self._state is BreakerState.OPEN and self._now() >= self._opened_at + self._limits.open_s:
            self._enter(BreakerState.HALF_OPEN)
        if self._state is BreakerState.OPEN:
            self._refuse(self._opened_at + self._limits.open_s - self._now())
        if self._state is BreakerState.HALF_OPEN:
            if self._probing + self._probed >= self._limits.probes:
                self._refuse(1.0)
            self._probing += 1
        return self._epoch

    def _refuse(self, retry_after_s: float) -> NoReturn:
        self._refused += 1
        raise CircuitOpen(
            f"{self.name} failed in most of its last calls and is left alone for {retry_after_s:.0f} s",
            retry_after_s=retry_after_s,
        )

    def _settle(self, failed: bool | None) -> None:
        if self._state is BreakerState.HALF_OPEN:
            self._settle_probe(failed)
        elif failed is not None:
            self._window.add(self._now(), failed)
            calls, failures = self._window.counts(self._now())
            if calls >= self._limits.min_calls and failures >= calls * self._limits.failure_ratio:
                self._open()

    def _settle_probe(self, failed: bool | None) -> None:
        self._probing -= 1
        if failed:
            self._open()
        elif failed is False:
            self._probed += 1
            if self._probed >= self._limits.probes:
                self._enter(BreakerState.CLOSED)

    def _open(self) -> None:
        self._opened += 1
        self._opened_at = self._now()
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        """Begin a new epoch: calls that were let through before it no longer count."""
        self._state = state
        self._epoch += 1
        self._probing = self._probed = 0
        self._window = _Window(self._limits.window_s)


@dataclass(slots=True)
class _Slice:
    number: int
    calls: int = 0
    failures: int = 0


class _Window:
    """Counts over the last `seconds`, kept in slices, so that its size does not depend on the traffic."""

    def __init__(self, seconds: float) -> None:
        self._slice_s = seconds / SLICES
        self._slices: deque[_Slice] = deque()

    def add(self, now: float, failed: bool) -> None:
        number = int(now / self._slice_s)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
        self._slices[-1].calls += 1
        self._slices[-1].failures += failed

    def counts(self, now: float) -> tuple[int, int]:
        oldest = int(now / self._slice_s) - SLICES
        while self._slices and self._slices[0].number <= oldest:
            self._slices.popleft()
        return sum(s.calls for s in self._slices), sum(s.failures for s in self._slices)

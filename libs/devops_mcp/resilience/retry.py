"""Trying again, within a deadline and within a budget."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from devops_mcp.models.errors import PlatformError
from devops_mcp.resilience.backoff import Backoff
from devops_mcp.resilience.deadline import Deadline

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetrySnapshot:
    calls: int
    retries: int
    refused_by_budget: int
    tokens: float


class RetryBudget:
    """Bounds retries to a share of calls, so that they cannot multiply the load on a system that fails.

    Each call earns `ratio` of a token, each retry spends one, at most `burst` are kept. With the default, a system that fails for good is
    sent at most 20 % more than it was asked, plus 10.
    """

    def __init__(self, ratio: float = 0.2, burst: float = 10.0) -> None:
        self._ratio = ratio
        self._burst = burst
        self._tokens = burst
        self._calls = 0
        self._retries = 0
        self._refused = 0

    def earn(self) -> None:
        self._calls += 1
        self._tokens = min(self._burst, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Take one retry out of the budget; False when it is used up."""
        if self._tokens < 1:
            self._refused += 1
            return False
        self._tokens -= 1
        self._retries += 1
        return True

    def snapshot(self) -> RetrySnapshot:
        return RetrySnapshot(self._calls, self._retries, self._refused, self._tokens)


@dataclass(frozen=True, slots=True)
class Retry:
    """Tries up to `attempts` times what fails with a `retryable` error.

    A `retry_after_s` of the error is waited for if it is at most `max_wait_s`; a longer one is left to the caller, who is told it.
    """

    attempts: int = 3
    backoff: Backoff = field(default_factory=Backoff)
    budget: RetryBudget = field(default_factory=RetryBudget)
    max_wait_s: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)

    async def call(self, run: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        """The result of `run`, or the error of its last attempt. No attempt begins that the deadline leaves no time for."""
        self.budget.earn()
        attempt = 1
        while True:
            try:
                return await run()
            except PlatformError as error:
                wait_s = self._wait_after(error, attempt, deadline)
                if wait_s is None:
                    raise
            await self.sleep(wait_s)
            attempt += 1

    def _wait_after(self, error: PlatformError, attempt: int, deadline: Deadline) -> float | None:
        """Seconds to wait before the next attempt; None: give up."""
        if not error.retryable or attempt >= self.attempts:
            return None
        wait_s = max(self.backoff.delay_s(attempt), error.retry_after_s or 0.0)
        if wait_s > self.max_wait_s or wait_s >= deadline.remaining():
            return None
        return wait_s if self.budget.spend() else None

    def snapshot(self) -> RetrySnapshot:
        return self.budget.snapshot()

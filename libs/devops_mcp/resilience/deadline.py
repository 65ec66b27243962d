"""A point in time by which something must be done, carried as a value."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from devops_mcp.models.errors import DeadlineExceeded

Monotonic: TypeAlias = Callable[[], float]
"""Seconds that never run backwards, such as `time.monotonic`."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is a reading of `now`. Pass it on instead of a timeout, so that each step gets what the steps before it left over."""

    at: float
    now: Monotonic = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, now: Monotonic = time.monotonic) -> "Deadline":
        """The deadline `seconds` from now."""
        return cls(now() + seconds, now)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self.now())

    def within(self, seconds: float) -> "Deadline":
        """This deadline, or the one `seconds` from now if that comes first."""
        return Deadline(min(self.at, self.now() + seconds), self.now)

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceeded` when no time is left for `doing`."""
        if self.remaining() == 0.0:
            raise DeadlineExceeded(f"no time was left for {doing}")

    @asynccontextmanager
    async def enforce(self, doing: str) -> AsyncIterator[None]:
        """Cancel the block when the time is over, and raise `DeadlineExceeded` in its place."""
        self.check(doing)
        scope = asyncio.timeout(self.remaining())
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise DeadlineExceeded(f"{doing} took longer than it may") from None
            raise

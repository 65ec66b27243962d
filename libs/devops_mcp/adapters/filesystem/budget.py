"""What one call may still spend: time, entries walked, bytes read."""

from collections.abc import Callable
from time import monotonic
from typing import Literal, TypeAlias

from devops_mcp.models.errors import DeadlineExceeded

StoppedBy: TypeAlias = Literal["time", "entries", "bytes"]


class Budget:
    """Counts down. The `take_` methods answer whether there was enough, and `stopped_by` what ran out first.

    Used by one thread; only `cancel` is called from another.
    """

    def __init__(
        self, *, seconds: float, entries: int, size: int, now: Callable[[], float] = monotonic
    ) -> None:
        self._now = now
        self._until = now() + seconds
        self._seconds = seconds
        self._cancelled = False
        self.entries = entries
        self.size = size
        self.stopped_by: StoppedBy | None = None

    def cancel(self) -> None:
        """Nobody waits any more: the thread stops at its next look."""
        self._cancelled = True

    def in_time(self) -> bool:
        if self._cancelled or self._now() > self._until:
            return self._stop("time")
        return self.stopped_by is None

    def take_entry(self) -> bool:
        if self.entries <= 0:
            return self._stop("entries")
        self.entries -= 1
        return self.in_time()

    def take_bytes(self, count: int) -> bool:
        if count > self.size:
            return self._stop("bytes")
        self.size -= count
        return self.in_time()

    def require_time(self) -> None:
        """Raises `DeadlineExceeded` when the time is up, for work that has no use for a half."""
        if not self.in_time():
            raise DeadlineExceeded(
                f"the files did not answer within {self._seconds:g} s; ask for less, or try again"
            )

    def _stop(self, reason: StoppedBy) -> bool:
        self.stopped_by = self.stopped_by or reason
        return False

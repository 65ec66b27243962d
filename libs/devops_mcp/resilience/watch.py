"""Deadlines for thousands of connections with one timer.

All members of a watch have the same time, so that the order of joining is the order of expiry: joining and leaving is a dictionary
entry, where a timer for each request would cost a heap entry and an object.
"""

import asyncio
from collections.abc import Callable
from itertools import takewhile
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Watch(Generic[Member]):
    """Calls `expired(member)` for each member that stays for `limit_s`; returning True grants it as long again."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit_s: float, expired: Callable[[Member], bool]
    ) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._expired = expired
        self._since: dict[Member, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._since)

    def add(self, member: Member) -> None:
        """Begin the member's time; one that is being watched keeps the time it has."""
        if member not in self._since:
            self._since[member] = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_later(self._limit_s, self._due)

    def restart(self, member: Member) -> None:
        self.discard(member)
        self.add(member)

    def discard(self, member: Member) -> None:
        self._since.pop(member, None)

    def pop_oldest(self) -> Member | None:
        """The member that waits longest, watched no more."""
        for member in self._since:
            del self._since[member]
            return member
        return None

    def close(self) -> None:
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        """Sweep once the loop has read what is there: uvloop, held up while it worked, runs its timers before it reads again.

        What is called soon may still run before that; what that calls soon runs after.
        """
        self._loop.call_soon(self._loop.call_soon, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        due = self._loop.time() - self._limit_s
        # The first that has time left ends the look: nobody after it joined before.
        for member, _ in list(takewhile(lambda one: one[1] <= due, self._since.items())):
            del self._since[member]
            if self._expired(member):
                self.add(member)
        self._arm_for_head()

    def _arm_for_head(self) -> None:
        if self._timer is None and self._since:
            head = next(iter(self._since.values()))
            self._timer = self._loop.call_at(head + self._limit_s, self._due)

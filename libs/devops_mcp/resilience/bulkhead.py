"""A bulkhead: one slow system must not take all hands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

from devops_mcp.models.errors import Unavailable


class BulkheadFull(Unavailable):
    """As many calls as may run to one system are running, and none ended in time."""

    code = "bulkhead_full"


@dataclass(frozen=True, slots=True)
class BulkheadSnapshot:
    limit: int
    running: int
    waiting: int
    refused: int


class Bulkhead:
    """At most `limit` at once; at most `max_waiting` more wait, each at most `max_wait_s`, first come first served."""

    def __init__(self, name: str, *, limit: int = 16, max_waiting: int = 64, max_wait_s: float = 2.0) -> None:
        self.name = name
        self._limit = limit
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._slots = asyncio.Semaphore(limit)
        self._running = 0
        self._waiting = 0
        self._refused = 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Run the block in a slot; raises `BulkheadFull` when none came free in time."""
        await self._acquire()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            self._slots.release()

    async def _acquire(self) -> None:
        if self._slots.locked() and self._waiting >= self._max_waiting:
            self._refuse()
        self._waiting += 1
        scope = asyncio.timeout(self._max_wait_s)
        try:
            async with scope:
                await self._slots.acquire()
        except TimeoutError:
            if scope.expired():
                self._refuse()
            raise
        finally:
            self._waiting -= 1

    def _refuse(self) -> NoReturn:
        self._refused += 1
        raise BulkheadFull(
            f"{self._limit} calls to {self.name} are under way; try again shortly", retry_after_s=1.0
        )

    def snapshot(self) -> BulkheadSnapshot:
        return BulkheadSnapshot(self._limit, self._running, self._waiting, self._refused)

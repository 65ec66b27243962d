"""What is written off the path of a call: kept at once, written a moment later, and the rest of it at the end."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

import structlog

from devops_mcp.models.errors import DeadlineExceeded, PlatformError

FLUSH_S = 0.2
WRITTEN_S = 1.0
"""So long somebody waits for what is to be written."""
CLOSING_S = 10.0
log = structlog.get_logger()
K = TypeVar("K", bound=Hashable)
W = TypeVar("W")
BacklogT = TypeVar("BacklogT", bound="Backlog[Any, Any]")


class Backlog(ABC, Generic[K, W]):
    """What waits, by whose it is: whose cannot be written now does not hold up the others. `called` is what the log calls it."""

    def __init__(self, called: str) -> None:
        self.called = called
        self._waiting: dict[K, W] = {}
        self._held = 0
        """How much waits in all."""
        self._writing = asyncio.Lock()
        self._flush: asyncio.Task[None] | None = None

    @abstractmethod
    async def _try_write(self, key: K) -> PlatformError | None:
        """Write what waits of one, and take it out; what keeps it, if anything. What comes meanwhile may stay for the next time.

        Raises `Unavailable` where the others would only wait for the same.
        """

    async def flush(self) -> None:
        """Write all that waits, with what comes meanwhile.

        What cannot be written now stays, in its order; raises why, once all has been tried.
        """
        failures: dict[K, PlatformError] = {}
        async with self._writing:
            while due := [key for key in self._waiting if key not in failures]:
                failures |= await self._write_each(due)
        _raise_first(failures)

    async def run(self) -> None:
        """Write every `FLUSH_S` seconds what waits then, until cancelled.

        What comes meanwhile waits for the next time: a batch of a few costs nearly as much as one of a thousand.
        """
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._trying(self._write_waiting())

    async def _write_waiting(self) -> None:
        async with self._writing:
            failures = await self._write_each(list(self._waiting))
        _raise_first(failures)

    async def _write_each(self, keys: Sequence[K]) -> dict[K, PlatformError]:
        failures = {key: await self._try_write(key) for key in keys}
        return {key: failure for key, failure in failures.items() if failure is not None}

    async def close(self) -> None:
        """Write the rest. Raises what `flush` does, or `TimeoutError` after `CLOSING_S`; then the log says how much is lost.

        What takes too long is tried again.
        """
        try:
            async with asyncio.timeout(CLOSING_S):
                while True:
                    try:
                        return await self.flush()
                    except DeadlineExceeded:
                        await asyncio.sleep(FLUSH_S)
        finally:
            if self._held:
                log.error(f"{self.called} lost", count=self._held)

    async def _flushed(self) -> None:
        """Wait for a flush, up to `WRITTEN_S`; those who wait at the same time share it."""
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._trying(self.flush()), name=f"write {self.called}")
        # Not cut off when the time is over: nobody would know what is written.
        await asyncio.wait({self._flush}, timeout=WRITTEN_S)

    async def _trying(self, write: Coroutine[Any, Any, None]) -> None:
        try:
            await write
        except PlatformError as error:
            log.warning(f"{self.called} wait", waiting=self._held, error=error.message)


def _raise_first(failures: Mapping[Any, PlatformError]) -> None:
    for failure in failures.values():
        raise failure


@asynccontextmanager
async def writing(backlog: BacklogT) -> AsyncIterator[BacklogT]:
    """The backlog, which writes by itself, and writes the rest at the end."""
    writer = asyncio.create_task(backlog.run(), name=backlog.called)
    try:
        yield backlog
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        await backlog.close()

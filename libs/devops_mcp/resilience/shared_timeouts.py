"""Timeouts of thousands of short blocks, with one timer for all that may last equally long.

`asyncio.timeout` sets and cancels a timer for each block, which costs more than the block where that answers at once.
"""

import asyncio
from functools import cached_property
from types import TracebackType
from typing import Any

from devops_mcp.resilience.watch import Watch


class SharedTimeouts:
    """Used within one event loop."""

    def __init__(self) -> None:
        self._watches: dict[float, Watch[_Block]] = {}

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """Remembered: to ask which one runs is a call of the system."""
        return asyncio.get_running_loop()

    def within(self, seconds: float) -> "_Block":
        """A block that is cancelled after so long, and then raises `TimeoutError`, as that of `asyncio.timeout` does."""
        watch = self._watches.get(seconds)
        if watch is None:
            watch = self._watches[seconds] = Watch(self._loop, seconds, _Block.expire)
        return _Block(watch, self._loop)


class _Block:
    __slots__ = ("_cancelling", "_has_expired", "_loop", "_task", "_watch")

    def __init__(self, watch: "Watch[_Block]", loop: asyncio.AbstractEventLoop) -> None:
        self._watch = watch
        self._loop = loop
        self._has_expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._watch.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._watch.discard(self)
        if not self._has_expired:
            return
        was_ours = self._task.uncancel() <= self._cancelling
        if was_ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> bool:
        self._has_expired = True
        self._task.cancel()
        return False

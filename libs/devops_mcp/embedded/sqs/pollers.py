"""Long polling: receivers that wait for a queue, woken one at a time, in the order in which they came."""

import asyncio
from collections import deque
from collections.abc import Callable

from devops_mcp.embedded.sqs.queue import Queue

_TIMER_SLACK_S = 0.002
"""Event loops count in milliseconds and may fire a little early; a message is not visible a moment before its time."""


class Pollers:
    """Those who wait for one queue. A poller that was woken and leaves again calls `notify`, so that no wake-up is lost."""

    def __init__(self, find_queue: Callable[[], Queue | None], clock: Callable[[], float]) -> None:
        self._find_queue = find_queue
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def notify(self) -> None:
        """Wake the first poller if there is a message for it, else be back when there may be one; all, when the queue is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        queue, now = self._find_queue(), self._clock()
        if queue is None:
            self.wake_all()
        elif queue.has_visible(now):
            self._wake_first()
        elif (due := queue.next_due()) is not None:
            delay_s = due - now + _TIMER_SLACK_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.notify)

    def wake_all(self) -> None:
        while self._waiting:
            self._wake_first()

    async def wait(self, timeout_s: float, hung_up: asyncio.Future[None]) -> None:
        """Wait until there may be a message, the time is over, or the caller has hung up."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        self.notify()
        try:
            await asyncio.wait((woken, hung_up), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not woken.done():
                self._waiting.remove(woken)

    def _wake_first(self) -> None:
        first = self._waiting.popleft()
        if not first.done():
            first.set_result(None)

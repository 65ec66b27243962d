"""What is told once the work that it is about is done for good: nobody hears of a change that is not committed yet."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Tell: TypeAlias = Callable[[], Awaitable[object]]

_WAITING: ContextVar[list[Tell] | None] = ContextVar("told_afterwards", default=None)


@contextmanager
def holding() -> Iterator[list[Tell]]:
    """Keep what `afterwards` is given within the block; the caller tells it, or drops it."""
    waiting: list[Tell] = []
    mark = _WAITING.set(waiting)
    try:
        yield waiting
    finally:
        _WAITING.reset(mark)


async def afterwards(tell: Tell) -> None:
    """Tell at once, or within `holding` when that is over."""
    waiting = _WAITING.get()
    if waiting is None:
        await tell()
    else:
        waiting.append(tell)

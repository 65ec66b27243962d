"""Waiting that ends when the service is told to stop."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def _at_once() -> float:
    return 0.0


async def unless_stopped(
    stop: asyncio.Event, work: Coroutine[Any, Any, T], *, settled_after_s: Callable[[], float] = _at_once
) -> T | None:
    """The result of `work`; None when `stop` is set first, and then the work is cancelled, though not before it is that old.

    A receive may have messages on their way to us, which nobody would see for the whole visibility timeout if we hung up.
    """
    if stop.is_set():
        work.close()
        return None
    begun = time.monotonic()
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and (left := begun + settled_after_s() - time.monotonic()) > 0:
            await asyncio.wait({task}, timeout=left)
    except asyncio.CancelledError:
        task.cancel()
        raise
    finally:
        stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    return None if task.cancelled() else task.result()

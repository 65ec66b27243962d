"""Waiting that ends when the service is told to stop."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ANSWERING_S = 2.0
"""A receive that waits for longer than this found the queue empty. A younger one may have messages on their way to us, which nobody would
see for the whole visibility timeout if we hung up."""


async def unless_stopped(
    stop: asyncio.Event, work: Coroutine[Any, Any, T], *, settled_after_s: float = 0.0
) -> T | None:
    """The result of `work`; None when `stop` is set first, and then the work is cancelled, though not before it is that old."""
    if stop.is_set():
        work.close()
        return None
    begun = time.monotonic()
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and (left := begun + settled_after_s - time.monotonic()) > 0:
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

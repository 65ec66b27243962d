"""What a process keeps current by looking again and again, whichever process changed it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import structlog

from devops_mcp.models.errors import PlatformError

EVERY_S = 1.0
"""A change takes effect in every process within this time, and the time of a query."""
_START_S = 2.0
_END_S = 1.0
"""A look under way is let finish, so that its connection goes back as it came."""
log = structlog.get_logger()
Look: TypeAlias = Callable[[], Awaitable[None]]


@asynccontextmanager
async def looking(name: str, look: Look, *further: Look) -> AsyncIterator[None]:
    """Look once, if the database is there, and every second within the block, with whatever is to be done `further` each time.

    Nothing that fails ends it; the log is told of the first of a row of failures.
    """
    with suppress(PlatformError, TimeoutError):
        async with asyncio.timeout(_START_S):
            await look()
    stop = asyncio.Event()
    task = asyncio.create_task(_look(name, (look, *further), stop), name=name)
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=_END_S)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _look(name: str, looks: tuple[Look, ...], stop: asyncio.Event) -> None:
    failing: set[Look] = set()
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)
            return
        for look in looks:
            try:
                await look()
            except PlatformError as error:
                if look not in failing:
                    log.warning(f"{name} not kept current", code=error.code, reason=error.message)
                failing.add(look)
            except Exception:  # it must not end
                if look not in failing:
                    log.exception(f"{name} not kept current")
                failing.add(look)
            else:
                failing.discard(look)


async def look_now(name: str, look: Look) -> None:
    """Look, for who has just changed something: it is done, so that a failure to look is no failure of the change."""
    try:
        await look()
    except PlatformError as error:
        log.warning(f"{name} not kept current", code=error.code, reason=error.message)

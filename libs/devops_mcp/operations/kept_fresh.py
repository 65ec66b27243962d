"""What was looked up, kept fresh beside those who ask for it, so that none of them waits for that."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

import structlog

from devops_mcp.observability.caller import for_caller
from devops_mcp.operations.ttl_cache import TtlCache

AT_ONCE = 2
"""Look-ups that nobody waits for: they leave the database to those who do."""
log = structlog.get_logger()
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeptFresh(Generic[K, V]):
    """Looks up what is asked for, once for all who ask at the same time.

    For `fresh_s` it is given as it is. After that it still is until it is `usable_s` old, and looked up anew meanwhile. Who asks later
    waits, as who is the first. `close` ends what is under way.
    """

    def __init__(
        self,
        look: Callable[[K], Awaitable[V]],
        *,
        fresh_s: float,
        usable_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._look = look
        self._fresh_s = fresh_s
        self._usable_s = usable_s
        self._monotonic = monotonic
        self._known: TtlCache[tuple[float, V]] = TtlCache(monotonic=monotonic)
        self._looking: dict[K, asyncio.Task[V]] = {}
        self._beside = asyncio.Semaphore(AT_ONCE)

    async def get(self, key: K) -> V:
        """What is known of it. Raises what looking it up does, where nothing is known."""
        known = self._known.get(key)
        if known is None:
            return await asyncio.shield(
                self._looking.get(key) or self._begin(key, for_caller(self._find(key)))
            )
        looked_up_at, value = known
        if key not in self._looking and self._monotonic() - looked_up_at >= self._fresh_s:
            # For nobody in particular: it is part of no request's trace.
            self._begin(key, self._find_beside(key), Context())
        return value

    async def close(self) -> None:
        """End the look-ups that are under way."""
        looking = list(self._looking.values())
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)

    def _begin(
        self, key: K, finding: Coroutine[Any, Any, V], context: Context | None = None
    ) -> asyncio.Task[V]:
        task = self._looking[key] = asyncio.create_task(finding, name="look-up", context=context)
        task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    def _ended(self, key: K, task: asyncio.Task[V]) -> None:
        del self._looking[key]
        # Taken note of here, as those who waited may have gone.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("look-up failed", exc_info=error)

    async def _find(self, key: K) -> V:
        value = await self._look(key)
        self._known.put(key, (self._monotonic(), value), self._usable_s)
        return value

    async def _find_beside(self, key: K) -> V:
        async with self._beside:
            return await self._find(key)

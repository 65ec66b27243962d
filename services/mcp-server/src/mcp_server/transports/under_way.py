"""The requests of one client that are under way: run as tasks, cancelled by their id, waited for before a restart."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params

CANCELLED = "notifications/cancelled"


class UnderWay:
    """Known by their ids; 7 and "7" are one, as the SDK has it."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        """Set while no request that will be answered is under way."""
        self.idle.set()
        self._loop = asyncio.get_running_loop()
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self._waited_for: set[str | int] = set()

    def __len__(self) -> int:
        """How many run here."""
        return len(self._running)

    def __contains__(self, request_id: str | int) -> bool:
        return coerce_request_id(request_id) in self._running

    def run(
        self, request_id: str | int, work: Coroutine[Any, Any, None], *, is_endless: bool = False
    ) -> None:
        """Run `work`, which answers the request; one that is endless nobody waits for."""
        if not is_endless:
            self.begin(request_id)
        key = coerce_request_id(request_id)
        self._running[key] = self._loop.create_task(self._run(key, work))

    def begin(self, request_id: str | int) -> None:
        """Somebody else answers the request, and will say when it has `ended`."""
        self._waited_for.add(coerce_request_id(request_id))
        self.idle.clear()

    def ended(self, request_id: str | int) -> None:
        self._waited_for.discard(coerce_request_id(request_id))
        if not self._waited_for:
            self.idle.set()

    def cancel(self, params: Mapping[str, Any] | None) -> None:
        """End what `notifications/cancelled` names, if it runs here; it is not answered."""
        named = cancelled_request_id_from_params(params)
        task = None if named is None else self._running.get(coerce_request_id(named))
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End whatever runs."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, key: str | int, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            del self._running[key]
            self.ended(key)

"""The requests of one client that are under way: so many at most, cancelled by their id, waited for before a restart."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import Any

import mcp_types as types
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params

CANCELLED = "notifications/cancelled"
MAX_IN_FLIGHT = 64
MAX_ENDLESS = 8
"""Of these, so many never end by themselves: each is kept with what it listens to, and one may name a hundred addresses."""
TOO_MANY = -32000
"""Our own code, in the range that JSON-RPC leaves to servers."""


class UnderWay:
    """Known by their ids; 7 and "7" are one, as the SDK has it. Who begins one has asked for a `refusal` before."""

    def __init__(self) -> None:
        self.idle = asyncio.Event()
        """Set while no request that will be answered is under way."""
        self.idle.set()
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[str | int, asyncio.Task[None] | None] = {}
        """None where somebody else answers."""
        self._endless: set[str | int] = set()

    def refusal(self, request_id: str | int, *, is_endless: bool = False) -> types.ErrorData | None:
        """Why a request of that id cannot begin now; None where it can."""
        if coerce_request_id(request_id) in self._tasks:
            return types.ErrorData(
                code=types.INVALID_REQUEST, message="the id is that of a request under way"
            )
        if len(self._tasks) >= MAX_IN_FLIGHT:
            return types.ErrorData(
                code=TOO_MANY, message=f"{MAX_IN_FLIGHT} requests are under way; wait for one"
            )
        if is_endless and len(self._endless) >= MAX_ENDLESS:
            return types.ErrorData(
                code=TOO_MANY, message=f"{MAX_ENDLESS} streams are open; cancel one, or name more in one"
            )
        return None

    def run(
        self,
        request_id: str | int,
        work: Coroutine[Any, Any, None],
        *,
        is_endless: bool = False,
        when_cancelled: Callable[[], None] | None = None,
        context: Context | None = None,
    ) -> None:
        """Run `work`, which answers the request unless it is cancelled, perhaps before it began; one that is endless nobody waits for.

        It runs in `context`, else in a copy of the current one.
        """
        key = coerce_request_id(request_id)
        if is_endless:
            self._endless.add(key)
        else:
            self.idle.clear()
        task = self._tasks[key] = self._loop.create_task(work, context=context)
        task.add_done_callback(partial(self._done, key, when_cancelled))

    def begin(self, request_id: str | int) -> None:
        """Somebody else answers the request, and will say when it has `ended`."""
        self._tasks[coerce_request_id(request_id)] = None
        self.idle.clear()

    def ended(self, request_id: str | int) -> None:
        """What somebody else answered is over; what runs here ends by itself."""
        self._end(coerce_request_id(request_id), None)

    def cancel(self, params: Mapping[str, Any] | None) -> None:
        """End what `notifications/cancelled` names, if it runs here; it is not answered."""
        named = cancelled_request_id_from_params(params)
        task = None if named is None else self._tasks.get(coerce_request_id(named))
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End whatever runs."""
        running = [task for task in self._tasks.values() if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _done(
        self, key: str | int, when_cancelled: Callable[[], None] | None, task: asyncio.Task[None]
    ) -> None:
        self._end(key, task)
        if task.cancelled() and when_cancelled is not None:
            when_cancelled()

    def _end(self, key: str | int, owner: asyncio.Task[None] | None) -> None:
        if key in self._tasks and self._tasks[key] is owner:
            del self._tasks[key]
            self._endless.discard(key)
        if len(self._tasks) == len(self._endless):
            self.idle.set()

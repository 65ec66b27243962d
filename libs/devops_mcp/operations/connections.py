"""Clients of DevOps systems, opened when first needed; closed when long unused, or when what they were made of has changed."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import structlog

KEPT = 200
"""Connections of a process that stay open while nobody uses them."""
log = structlog.get_logger()


class ConnectionKey(NamedTuple):
    """Whose client it is, and what it was made of: another version is another client."""

    tenant_id: UUID
    integration: str
    version: str
    person: str = ""
    """Whose credential, and which; empty: the service's."""


Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(slots=True)
class _Held:
    ready: asyncio.Future[Any]
    users: int = 0
    retired: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Connections:
    """Each is held by a task of its own, which opens and closes it. Use it within `connections()`."""

    def __init__(self, *, keep: int = KEPT) -> None:
        self._keep = keep
        self._held: OrderedDict[ConnectionKey, _Held] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def use(self, key: ConnectionKey, connect: Connect) -> AsyncIterator[Any]:
        """The client, which is not closed within the block. Raises what opening it raises."""
        held = self._held.get(key) or self._begin(key, connect)
        self._held.move_to_end(key)
        held.users += 1
        try:
            yield await asyncio.shield(held.ready)
        finally:
            held.users -= 1
            if held.retired and not held.users:
                held.ended.set()
            self._close_oldest()

    def retire(self, tenant_id: UUID, integration: str, *, but: str | None = None) -> None:
        """Close those of an integration once nobody uses them any more, `but` for one version."""
        for key in [k for k in self._held if k[:2] == (tenant_id, integration) and k.version != but]:
            self._retire(key)

    async def close(self) -> None:
        """Close all, whoever uses them."""
        for held in self._held.values():
            held.ended.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, key: ConnectionKey, connect: Connect) -> _Held:
        held = self._held[key] = _Held(asyncio.get_running_loop().create_future())
        task = asyncio.create_task(_hold(held, connect), name=f"connection {key.integration}")
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if self._held.get(key) is held:
                del self._held[key]
            _tell(held, task, key)

        task.add_done_callback(ended)
        return held

    def _retire(self, key: ConnectionKey) -> None:
        held = self._held.pop(key)
        held.retired = True
        if not held.users:
            held.ended.set()

    def _close_oldest(self) -> None:
        for key in [k for k, held in self._held.items() if not held.users][
            : max(0, len(self._held) - self._keep)
        ]:
            self._retire(key)


@asynccontextmanager
async def connections(*, keep: int = KEPT) -> AsyncIterator[Connections]:
    """Connections that are all closed at the end of the block."""
    opened = Connections(keep=keep)
    try:
        yield opened
    finally:
        await opened.close()


async def _hold(held: _Held, connect: Connect) -> None:
    async with connect() as client:
        held.ready.set_result(client)
        await held.ended.wait()


def _tell(held: _Held, task: asyncio.Task[None], key: ConnectionKey) -> None:
    """Who waits for a client that cannot be opened hears why; one that cannot be closed is in the log."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return
    if held.ready.done():
        log.warning("connection not closed", integration=key.integration, error=type(error).__name__)
    elif task.cancelled():
        held.ready.cancel()
    else:
        held.ready.set_exception(error)
        held.ready.exception()  # who waited may be gone

"""Changed lists, as the clients of this process wait to hear of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from devops_mcp.cache.changes import ListChanges
from devops_mcp.cache.channel import Gap
from devops_mcp.models.lists import LISTED, Listed


class ListWatch:
    """Iterate to hear which lists changed; changes that come faster than they are taken are told once."""

    def __init__(self, tenant_id: UUID, wanted: frozenset[Listed]) -> None:
        self.tenant_id = tenant_id
        self._wanted = wanted
        self._changed: set[Listed] = set()
        self._some = asyncio.Event()

    def offer(self, what: Listed) -> None:
        if what in self._wanted:
            self._changed.add(what)
            self._some.set()

    async def __aiter__(self) -> AsyncIterator[Listed]:
        while True:
            await self._some.wait()
            self._some.clear()
            for what in LISTED:
                if what in self._changed:
                    self._changed.discard(what)
                    yield what


class ListFeed:
    """One a process. `running()` keeps it fed."""

    def __init__(self, changes: ListChanges) -> None:
        self._changes = changes
        self._watches: set[ListWatch] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ListFeed"]:
        """Feed watches within this block."""
        listening = asyncio.create_task(self._listen(), name="list feed")
        try:
            yield self
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    @asynccontextmanager
    async def watch(self, tenant_id: UUID, wanted: frozenset[Listed]) -> AsyncIterator[ListWatch]:
        """What changes of the tenant's lists within this block."""
        watch = ListWatch(tenant_id, wanted)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def _listen(self) -> None:
        interrupted = False
        async for heard in self._changes.listen():
            if isinstance(heard, Gap):
                # Nobody knows what was said meanwhile, so each client is told to look.
                if heard.listening and interrupted:
                    self._tell_all()
                interrupted = not heard.listening
            else:
                for watch in self._watches:
                    if watch.tenant_id == heard.tenant_id:
                        watch.offer(heard.what)

    def _tell_all(self) -> None:
        for watch in self._watches:
            for what in LISTED:
                watch.offer(what)

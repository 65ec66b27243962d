"""Changed lists and resources, as the clients of this process wait to hear of them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias
from uuid import UUID

from devops_mcp.cache.changes import Changes, ListChange, ResourceChange
from devops_mcp.cache.channel import Gap
from devops_mcp.models.lists import LISTED, Listed

Changed: TypeAlias = ListChange | ResourceChange


class ChangeWatch:
    """Iterate to hear what changed; what changes faster than it is taken is told once. `uris` may grow and shrink meanwhile."""

    def __init__(self, tenant_id: UUID, lists: Collection[Listed], uris: Collection[str]) -> None:
        self._tenant_id = tenant_id
        self._lists = lists
        self._uris = uris
        self._changed: dict[Changed, None] = {}
        self._some = asyncio.Event()

    def offer(self, change: Changed) -> None:
        if change.tenant_id != self._tenant_id:
            return
        wanted = change.what in self._lists if isinstance(change, ListChange) else change.uri in self._uris
        if wanted:
            self._changed[change] = None
            self._some.set()

    def offer_all(self) -> None:
        """Nobody knows what was said, so everything may have changed."""
        for what in self._lists:
            self.offer(ListChange(tenant_id=self._tenant_id, what=what))
        for uri in self._uris:
            self.offer(ResourceChange(tenant_id=self._tenant_id, uri=uri))

    async def some(self, within_s: float) -> None:
        """Return when anything has changed since it was last told here, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._some.wait()
        self._some.clear()
        self._changed.clear()

    async def __aiter__(self) -> AsyncIterator[Changed]:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._changed:
                change = next(iter(self._changed))
                del self._changed[change]
                yield change


class ChangeFeed:
    """One a process. `running()` keeps it fed."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._watches: set[ChangeWatch] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ChangeFeed"]:
        """Feed watches within this block."""
        listening = asyncio.create_task(self._listen(), name="change feed")
        try:
            yield self
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    @asynccontextmanager
    async def watch(
        self, tenant_id: UUID, lists: Collection[Listed], uris: Collection[str] = ()
    ) -> AsyncIterator[ChangeWatch]:
        """What changes, of the tenant's, within this block."""
        watch = ChangeWatch(tenant_id, lists, uris)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def tell(self, tenant_id: UUID, *, uri: str) -> None:
        """Tell this process's clients only that all lists and one resource of a tenant changed: each process knows by itself."""
        for watch in self._watches:
            for what in LISTED:
                watch.offer(ListChange(tenant_id=tenant_id, what=what))
            watch.offer(ResourceChange(tenant_id=tenant_id, uri=uri))

    async def _listen(self) -> None:
        interrupted = False
        async for heard in self._changes.listen():
            if isinstance(heard, Gap):
                if heard.listening and interrupted:
                    for watch in self._watches:
                        watch.offer_all()
                interrupted = not heard.listening
            else:
                for watch in self._watches:
                    watch.offer(heard)

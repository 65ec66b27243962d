"""Writers of contexts, which the worker sums up meanwhile: what must keep its order per context."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from devops_mcp.models.contexts import NewItem
from devops_mcp.models.errors import DeadlineExceeded, Unavailable
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import ContextService
from devops_mcp.repositories.database import Database

COMPACT_ABOVE = 2_000
_EVERY_S = 0.5
_CONTEXTS = 3
_TEXT = (
    "the disk of node {n} was looked at and found to be in good order by whoever was on call that night. " * 5
)


class ContextWriter:
    """Appends to a few contexts as agents do, and now and then asks for another limit while the last request is under way."""

    def __init__(self, database: Database, owner: Principal, chance: random.Random) -> None:
        self._service = ContextService(database, embeds=False, compact_above=COMPACT_ABOVE)
        self._owner = owner
        self._chance = chance
        self._contexts: list[UUID] = []

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write while the block runs; what the database did not take may have been written or not."""

        async def keep() -> None:
            while True:
                with suppress(Unavailable, DeadlineExceeded):
                    await self._write()
                await asyncio.sleep(_EVERY_S)

        going = asyncio.create_task(keep())
        try:
            yield
        finally:
            going.cancel()
            with suppress(asyncio.CancelledError):
                await going

    async def _write(self) -> None:
        if len(self._contexts) < _CONTEXTS:
            self._contexts.append((await self._service.create(self._owner, "a long night")).id)
        context_id = self._chance.choice(self._contexts)
        await self._service.append(self._owner, context_id, self._items())
        if self._chance.random() < 0.3:
            keep_tokens = self._chance.choice((0, 200, 1_000))
            await self._service.compact(self._owner, context_id, keep_tokens=keep_tokens)

    def _items(self) -> Sequence[NewItem]:
        return [NewItem(text=_TEXT.format(n=self._chance.randrange(1_000))) for _ in range(5)]

"""Group commit: what arrives while a transaction is under way goes into the next one together.

A transaction costs about the same for one row as for fifty, so under load many share its price, and alone nobody waits for company.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from devops_mcp.models.errors import DeadlineExceeded, Unavailable

AT_ONCE = 4
"""Transactions of a tenant at the same time at most, however many of them are held up."""
HELD_UP_S = 0.1
"""A transaction that takes longer probably waits for a lock, and what arrives meanwhile does not wait with it."""
ITEMS = 64
BYTES = 8 * 2**20

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Waiting(Generic[ItemT, ResultT]):
    item: ItemT
    size: int
    result: asyncio.Future[ResultT]


@dataclass(slots=True)
class _Line(Generic[ItemT, ResultT]):
    """What waits of one tenant, who works it off, and how many of those are held up."""

    waiting: deque[_Waiting[ItemT, ResultT]] = field(default_factory=deque)
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    held_up: int = 0


class GroupCommit(Generic[ItemT, ResultT]):
    """Gives `store` one tenant's items in groups, and each submitter its own result.

    `store` commits a group in one transaction and returns a result for each item, in order. Where a group fails through one of its items,
    each is stored alone, so that only that one's submitter hears of it. The sizes in a group add up to `room` at most.

    Of a tenant's groups `abreast` are stored at once, besides those that are held up, and `AT_ONCE` with these: with two abreast, one is
    made ready while the database works on the other. Who was held up takes the next group only where too few others are at work.
    """

    def __init__(
        self,
        store: Callable[[UUID, Sequence[ItemT]], Awaitable[Sequence[ResultT]]],
        *,
        room: int = BYTES,
        abreast: int = 1,
    ) -> None:
        self._store = store
        self._room = room
        self._abreast = abreast
        self._lines: defaultdict[UUID, _Line[ItemT, ResultT]] = defaultdict(_Line[ItemT, ResultT])

    async def submit(self, tenant_id: UUID, item: ItemT, size: int) -> ResultT:
        """Store an item of this size; returns after the commit, and raises what `store` did. Who stops waiting does not undo it."""
        line = self._lines[tenant_id]
        one = _Waiting[ItemT, ResultT](item, size, asyncio.get_running_loop().create_future())
        line.waiting.append(one)
        self._see_to(tenant_id, line)
        return await one.result

    def _see_to(self, tenant_id: UUID, line: _Line[ItemT, ResultT]) -> None:
        """Let somebody work on what waits, unless as many do as should who are not held up."""
        going = len(line.workers) - line.held_up
        if line.waiting and going < self._abreast and len(line.workers) < AT_ONCE:
            line.workers.add(asyncio.create_task(self._work_off(tenant_id, line), name="group commit"))

    async def _work_off(self, tenant_id: UUID, line: _Line[ItemT, ResultT]) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        try:
            while line.waiting and len(line.workers) - line.held_up <= self._abreast:
                with self._watched(tenant_id, line):
                    await self._settle(tenant_id, _group(line.waiting, self._room))
        finally:  # before anything else runs: who submits next must not count on one that has looked for the last time
            line.workers.discard(worker)

    @contextmanager
    def _watched(self, tenant_id: UUID, line: _Line[ItemT, ResultT]) -> Iterator[None]:
        late = False

        def held_up() -> None:
            nonlocal late
            late = True
            line.held_up += 1
            self._see_to(tenant_id, line)

        timer = asyncio.get_running_loop().call_later(HELD_UP_S, held_up)
        try:
            yield
        finally:
            timer.cancel()
            line.held_up -= late

    async def _settle(self, tenant_id: UUID, group: Sequence[_Waiting[ItemT, ResultT]]) -> None:
        try:
            results = await self._store(tenant_id, [one.item for one in group])
        except Exception as error:  # noqa: BLE001 - it is raised where the item was submitted
            if len(group) == 1 or isinstance(error, Unavailable | DeadlineExceeded):
                for one in group:
                    if not one.result.done():
                        one.result.set_exception(error)
                return
            for one in group:
                await self._settle(tenant_id, [one])
            return
        for one, result in zip(group, results, strict=True):
            if not one.result.done():  # its submitter may have gone
                one.result.set_result(result)


def _group(waiting: deque[_Waiting[ItemT, ResultT]], room: int) -> list[_Waiting[ItemT, ResultT]]:
    """The first of what waits, as far as it fits."""
    group = [waiting.popleft()]
    room -= group[0].size
    while waiting and len(group) < ITEMS and waiting[0].size <= room:
        group.append(waiting.popleft())
        room -= group[-1].size
    return group

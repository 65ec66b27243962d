"""Items that share a transaction, and what one of them may do to the others: nothing."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from devops_mcp.models.errors import InvalidInput, Unavailable
from devops_mcp.models.ids import new_id
from devops_mcp.operations import group_commit
from devops_mcp.operations.group_commit import AT_ONCE, BYTES, ITEMS, GroupCommit

TENANT = new_id()


class Store:
    """Doubles numbers, group by group, when it may; it refuses what is negative, and zero keeps a group until told."""

    def __init__(self) -> None:
        self.groups: list[tuple[UUID, list[int]]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.unlocked = asyncio.Event()
        self.away = False

    async def __call__(self, tenant_id: UUID, group: Sequence[int]) -> list[int]:
        self.groups.append((tenant_id, list(group)))
        await self.open.wait()
        if 0 in group:
            await self.unlocked.wait()
        if self.away:
            raise Unavailable("no database")
        if any(number < 0 for number in group):
            raise InvalidInput("negative")
        return [number * 2 for number in group]

    def sizes(self, tenant_id: UUID = TENANT) -> list[int]:
        return [len(group) for tenant, group in self.groups if tenant == tenant_id]


async def test_what_arrives_during_a_commit_shares_the_next_and_each_gets_its_own_result():
    store = Store()
    commits = GroupCommit(store)
    store.open.clear()
    waiting = [asyncio.create_task(commits.submit(TENANT, n, 1)) for n in range(1, 2 * ITEMS)]
    await asyncio.sleep(0)
    store.open.set()
    assert await asyncio.gather(*waiting) == [2 * n for n in range(1, 2 * ITEMS)]
    assert max(store.sizes()) == ITEMS
    assert len(store.sizes()) <= 3


async def test_where_two_go_abreast_the_third_waits_for_one_of_them(monkeypatch):
    monkeypatch.setattr(group_commit, "HELD_UP_S", 600)
    store = Store()
    store.open.clear()
    commits = GroupCommit(store, abreast=2)
    waiting = []
    for n in (1, 2, 3, 4):
        waiting.append(asyncio.create_task(commits.submit(TENANT, n, 1)))
        for _ in range(5):
            await asyncio.sleep(0)
    assert store.sizes() == [1, 1]
    store.open.set()
    assert await asyncio.gather(*waiting) == [2, 4, 6, 8]
    assert store.sizes() == [1, 1, 2]


async def test_one_alone_does_not_wait_for_company():
    store = Store()
    assert await asyncio.wait_for(GroupCommit(store).submit(TENANT, 1, 1), 30) == 2
    assert store.sizes() == [1]


async def test_one_after_the_other_is_each_seen_to():
    store = Store()
    commits = GroupCommit(store)
    async with asyncio.timeout(30):
        for n in range(1, 20):
            assert await commits.submit(TENANT, n, 1) == 2 * n
    assert store.sizes() == [1] * 19


async def test_only_who_submitted_what_is_wrong_hears_of_it():
    store = Store()
    commits = GroupCommit(store)
    results = await asyncio.gather(
        *(commits.submit(TENANT, n, 1) for n in (1, 2, -3, 4)), return_exceptions=True
    )
    assert [r if isinstance(r, int) else type(r) for r in results] == [2, 4, InvalidInput, 8]


async def test_without_a_database_nobody_is_tried_again():
    store = Store()
    store.away = True
    results = await asyncio.gather(
        *(GroupCommit(store).submit(TENANT, n, 1) for n in (1, 2, 3)), return_exceptions=True
    )
    assert all(isinstance(result, Unavailable) for result in results)


async def test_tenants_do_not_share_a_transaction():
    store, other = Store(), new_id()
    commits = GroupCommit(store)
    await asyncio.gather(*(commits.submit(t, n, 1) for n in (1, 2) for t in (TENANT, other)))
    assert {tenant for tenant, _ in store.groups} == {TENANT, other}
    assert sum(store.sizes()) == sum(store.sizes(other)) == 2


async def test_a_group_holds_no_more_bytes_than_it_may():
    store = Store()
    store.open.clear()
    commits = GroupCommit(store)
    waiting = [asyncio.create_task(commits.submit(TENANT, n, BYTES // 2)) for n in range(1, 8)]
    waiting.append(asyncio.create_task(commits.submit(TENANT, 9, 3 * BYTES)))
    await asyncio.sleep(0)
    store.open.set()
    await asyncio.gather(*waiting)
    assert max(store.sizes()) == 2
    assert [9] in [group for _, group in store.groups]


async def test_who_stops_waiting_takes_nothing_with_it():
    store = Store()
    store.open.clear()
    commits = GroupCommit(store)
    waiting = [asyncio.create_task(commits.submit(TENANT, n, 1)) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    store.open.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert (results[0], results[2]) == (2, 6)
    assert sum(store.sizes()) == 3


async def test_a_commit_that_is_held_up_holds_up_nobody_else(monkeypatch):
    monkeypatch.setattr(group_commit, "HELD_UP_S", 0.02)
    store = Store()
    commits = GroupCommit(store)
    held_up = asyncio.create_task(commits.submit(TENANT, 0, 1))
    await asyncio.sleep(0)
    for n in (1, 2, 3):
        assert await asyncio.wait_for(commits.submit(TENANT, n, 1), 30) == 2 * n
    assert not held_up.done()
    store.unlocked.set()
    assert await held_up == 0


async def test_after_a_slow_moment_no_more_go_on_abreast_than_should(monkeypatch):
    monkeypatch.setattr(group_commit, "HELD_UP_S", 0)
    store = Store()
    commits = GroupCommit(store, room=1)
    slow = [asyncio.create_task(commits.submit(TENANT, 0, 1)) for _ in range(AT_ONCE)]
    async with asyncio.timeout(30):
        while len(store.groups) < AT_ONCE:
            await asyncio.sleep(0)
    monkeypatch.setattr(group_commit, "HELD_UP_S", 600)
    store.open.clear()
    waiting = [asyncio.create_task(commits.submit(TENANT, n, 1)) for n in range(1, 9)]
    await asyncio.sleep(0)
    store.unlocked.set()
    await asyncio.gather(*slow)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(store.groups) == AT_ONCE + 1
    store.open.set()
    assert await asyncio.gather(*waiting) == [2 * n for n in range(1, 9)]

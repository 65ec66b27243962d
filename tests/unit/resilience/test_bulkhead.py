import asyncio
from contextlib import AsyncExitStack

import pytest

from devops_mcp.resilience.bulkhead import Bulkhead, BulkheadFull


async def occupy(bulkhead: Bulkhead, release: asyncio.Event) -> None:
    async with bulkhead.slot():
        await release.wait()


async def until(bulkhead: Bulkhead, *, running: int, waiting: int) -> None:
    async with asyncio.timeout(30):
        while (bulkhead.snapshot().running, bulkhead.snapshot().waiting) != (running, waiting):
            await asyncio.sleep(0)


async def test_no_more_than_the_limit_run_and_the_rest_follow_in_order():
    bulkhead = Bulkhead("shop", limit=2, max_wait_s=60)
    release, order = asyncio.Event(), []

    async def call(number: int) -> None:
        async with bulkhead.slot():
            order.append(number)
            await release.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(call(number))
        await until(bulkhead, running=2, waiting=3)
        assert order == [0, 1]
        release.set()

    assert order == [0, 1, 2, 3, 4]
    assert bulkhead.snapshot().running == 0


async def test_who_waited_as_long_as_it_may_is_told_so():
    """X01"""
    bulkhead = Bulkhead("shop", limit=1, max_wait_s=0.01)
    async with bulkhead.slot():
        with pytest.raises(BulkheadFull, match="1 calls to shop") as caught:
            async with bulkhead.slot():
                pytest.fail("the call was made")

    assert caught.value.retryable
    assert bulkhead.snapshot().refused == 1


async def test_a_queue_that_is_full_refuses_at_once():
    bulkhead = Bulkhead("shop", limit=1, max_waiting=1, max_wait_s=60)
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(occupy(bulkhead, release))
        await until(bulkhead, running=1, waiting=1)

        with pytest.raises(BulkheadFull):
            async with bulkhead.slot():
                pytest.fail("the call was made")
        release.set()


async def test_a_waiter_that_is_cancelled_leaves_no_trace():
    bulkhead = Bulkhead("shop", limit=1, max_wait_s=60)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bulkhead.slot())
        waiter = asyncio.create_task(occupy(bulkhead, asyncio.Event()))
        await until(bulkhead, running=1, waiting=1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

    async with bulkhead.slot():
        snapshot = bulkhead.snapshot()
    assert (snapshot.running, snapshot.waiting, snapshot.refused) == (1, 0, 0)


async def test_a_call_that_fails_gives_its_slot_back():
    bulkhead = Bulkhead("shop", limit=1)
    for _ in range(3):
        with pytest.raises(KeyError):
            async with bulkhead.slot():
                raise KeyError("ours")

    assert bulkhead.snapshot().running == 0

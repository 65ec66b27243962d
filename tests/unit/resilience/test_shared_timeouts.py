import asyncio

import pytest

from devops_mcp.resilience.shared_timeouts import SharedTimeouts

LONG_S = 60.0


async def test_a_block_that_takes_too_long_is_cancelled_and_raises_timeout_error() -> None:
    with pytest.raises(TimeoutError), SharedTimeouts().within(0.02):
        await asyncio.sleep(LONG_S)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_blocks_of_one_time_end_each_at_its_own_and_one_that_was_left_is_left_alone() -> None:
    timeouts, ended = SharedTimeouts(), []

    async def block(name: str, lasts_s: float) -> None:
        try:
            with timeouts.within(0.05):
                await asyncio.sleep(lasts_s)
        except TimeoutError:
            ended.append(name)

    async def left() -> None:
        await block("left", 0)
        await asyncio.Event().wait()

    others = asyncio.create_task(left())
    await asyncio.wait_for(asyncio.gather(block("first", LONG_S), block("second", LONG_S)), LONG_S)
    assert ended == ["first", "second"]
    assert not others.done()
    others.cancel()


async def test_who_is_cancelled_from_outside_is_cancelled_and_not_timed_out() -> None:
    begun = asyncio.Event()

    async def block() -> None:
        with SharedTimeouts().within(LONG_S):
            begun.set()
            await asyncio.sleep(LONG_S)

    task = asyncio.create_task(block())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(KeyError), SharedTimeouts().within(LONG_S):
        raise KeyError

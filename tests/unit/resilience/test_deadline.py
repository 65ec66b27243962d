import asyncio

import pytest

from devops_mcp.models.errors import DeadlineExceeded
from devops_mcp.resilience.deadline import Deadline
from support.clock import HandClock


def test_a_deadline_counts_down_and_stops_at_zero():
    clock = HandClock()
    deadline = Deadline.after(5, clock)

    clock.advance(3)
    assert deadline.remaining() == 2
    clock.advance(3)
    assert deadline.remaining() == 0


def test_a_step_gets_its_own_limit_or_what_is_left_whichever_is_less():
    clock = HandClock()
    deadline = Deadline.after(5, clock)

    assert deadline.within(2).remaining() == 2
    assert deadline.within(60).remaining() == 5


def test_nothing_begins_after_the_deadline():
    clock = HandClock()
    deadline = Deadline.after(1, clock)
    deadline.check("a call")

    clock.advance(1)
    with pytest.raises(DeadlineExceeded, match="no time was left for a call"):
        deadline.check("a call")


async def test_a_block_that_outlasts_the_deadline_is_cancelled_and_says_what_it_was():
    with pytest.raises(DeadlineExceeded, match="reading the log took longer"):
        async with Deadline.after(0.01).enforce("reading the log"):
            await asyncio.Event().wait()


async def test_a_timeout_of_the_blocks_own_is_left_as_it_is():
    with pytest.raises(TimeoutError, match="inner"):
        async with Deadline.after(60).enforce("reading the log"):
            raise TimeoutError("inner")

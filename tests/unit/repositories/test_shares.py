"""What one caller may hold of a pool that all share."""

import asyncio

import pytest

from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import new_id
from devops_mcp.observability.caller import current_caller, set_caller
from devops_mcp.repositories.shares import Blocks, Shares

TENANT, OTHER = new_id(), new_id()
PATIENT_S, IMPATIENT_S = 60.0, 0.01


async def holding(shares: Shares, caller, tenant_id=TENANT):
    """Take one for the caller, in the task that answers it."""
    set_caller(caller)
    return await shares.take(tenant_id)


async def until_idle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_caller_holds_all_and_no_tenant_does():
    shares, alice, bob = Shares(10, IMPATIENT_S), new_id(), new_id()
    for _ in range(8):
        assert await holding(shares, alice) == alice
    with pytest.raises(Unavailable):
        await holding(shares, alice)
    assert await holding(shares, bob) == bob
    with pytest.raises(Unavailable):
        await holding(shares, bob)
    assert await holding(shares, bob, OTHER) == bob
    shares.give(alice, TENANT)
    assert await holding(shares, bob) == bob, "what somebody waited for in vain is there"


async def test_who_waits_longest_is_next():
    shares, alice = Shares(5, PATIENT_S), new_id()
    for _ in range(4):
        await holding(shares, alice)
    order: list[int] = []

    async def wait(number: int) -> None:
        await holding(shares, alice)
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await until_idle()
    assert order == []
    for _ in range(3):
        shares.give(alice, TENANT)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_a_place_that_was_handed_to_who_gave_up_goes_to_the_next():
    shares, alice = Shares(5, PATIENT_S), new_id()
    for _ in range(4):
        await holding(shares, alice)
    first, second, third = [asyncio.create_task(holding(shares, alice)) for _ in range(3)]
    await until_idle()
    first.cancel()
    await until_idle()
    shares.give(alice, TENANT)
    second.cancel()  # in the moment in which it was handed the place
    assert await third == alice


async def test_of_blocks_that_may_want_a_second_connection_there_are_fewer_than_connections():
    blocks, ends, begun = Blocks(5, 4, IMPATIENT_S), asyncio.Event(), []

    async def block(caller) -> None:
        set_caller(caller)
        taken = await blocks.take()
        begun.append(taken)
        await ends.wait()
        blocks.give(taken)

    alice, bob = new_id(), new_id()
    running = [asyncio.create_task(block(caller)) for caller in (alice, alice, alice, bob)]
    await until_idle()
    assert begun == [alice, alice, alice, bob]
    with pytest.raises(Unavailable):
        await block(alice)
    with pytest.raises(Unavailable):
        await block(bob)
    ends.set()
    await asyncio.gather(*running)
    await block(bob)
    assert begun[-1] == bob


async def test_what_nobody_waits_for_has_no_share():
    shares = Shares(5, IMPATIENT_S)
    assert [await shares.take(TENANT) for _ in range(10)] == [None] * 10
    set_caller(new_id())
    assert current_caller() is not None
    assert await asyncio.create_task(shares.take(TENANT)) is None, "what it starts may outlive it"

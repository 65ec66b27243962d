"""Nobody who asks waits for what is known to be looked up again."""

import asyncio

import pytest

from devops_mcp.models.errors import Unavailable
from devops_mcp.operations.kept_fresh import AT_ONCE, KeptFresh

FRESH_S, USABLE_S = 10.0, 30.0


class LookUps:
    """Each waits until it is answered; the clock stands still but for `now`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked: list[str] = []
        self.answers: list[asyncio.Future[int]] = []

    async def __call__(self, key: str) -> int:
        self.asked.append(key)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    async def begun(self, count: int) -> None:
        while len(self.asked) < count:
            await asyncio.sleep(0)

    def kept(self) -> KeptFresh[str, int]:
        return KeptFresh(self, fresh_s=FRESH_S, usable_s=USABLE_S, monotonic=lambda: self.now)


async def known(look: LookUps, kept: KeptFresh[str, int], key: str, value: int) -> None:
    asking = asyncio.create_task(kept.get(key))
    await look.begun(len(look.asked) + 1)
    look.answers[-1].set_result(value)
    assert await asking == value


async def settled(kept: KeptFresh[str, int], key: str, value: int) -> None:
    while await kept.get(key) != value:
        await asyncio.sleep(0)


async def test_a_crowd_that_asks_at_once_has_it_looked_up_once():
    look = LookUps()
    kept = look.kept()
    crowd = [asyncio.create_task(kept.get("a")) for _ in range(100)]
    await look.begun(1)
    look.answers[0].set_result(7)
    assert await asyncio.gather(*crowd) == [7] * 100
    assert await kept.get("a") == 7
    assert look.asked == ["a"]


async def test_what_is_no_longer_fresh_is_given_while_it_is_looked_up_once_more():
    look = LookUps()
    kept = look.kept()
    await known(look, kept, "a", 1)
    look.now += FRESH_S
    assert [await kept.get("a") for _ in range(5)] == [1] * 5  # though nothing is answered yet
    await look.begun(2)
    assert look.asked == ["a", "a"]
    look.answers[1].set_result(2)
    await settled(kept, "a", 2)
    assert look.asked == ["a", "a"]


async def test_what_is_too_old_is_waited_for():
    look = LookUps()
    kept = look.kept()
    await known(look, kept, "a", 1)
    look.now += USABLE_S
    await known(look, kept, "a", 2)


async def test_only_so_many_are_looked_up_beside_but_who_waits_is_not_held_up_by_them():
    look = LookUps()
    kept = look.kept()
    for key in ("a", "b", "c"):
        await known(look, kept, key, 1)
    look.now += FRESH_S
    assert [await kept.get(key) for key in ("a", "b", "c")] == [1, 1, 1]
    await look.begun(3 + AT_ONCE)
    await known(look, kept, "new", 5)
    assert look.asked[3:] == ["a", "b", "new"]
    look.answers[3].set_result(2)
    await look.begun(7)
    assert look.asked[-1] == "c"
    await kept.close()


async def test_a_failure_is_told_to_who_waits_and_to_nobody_else():
    look = LookUps()
    kept = look.kept()
    crowd = [asyncio.create_task(kept.get("a")) for _ in range(3)]
    await look.begun(1)
    look.answers[0].set_exception(Unavailable("away"))
    assert [type(one) for one in await asyncio.gather(*crowd, return_exceptions=True)] == [Unavailable] * 3
    await known(look, kept, "a", 1)
    look.now += FRESH_S
    await kept.get("a")
    await look.begun(3)
    look.answers[2].set_exception(Unavailable("away"))
    while len(look.asked) < 4:  # it is tried again
        assert await kept.get("a") == 1
        await asyncio.sleep(0)
    await kept.close()


async def test_one_who_leaves_takes_nothing_from_the_others():
    look = LookUps()
    kept = look.kept()
    leaving, staying = asyncio.create_task(kept.get("a")), asyncio.create_task(kept.get("a"))
    await look.begun(1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    look.answers[0].set_result(7)
    assert await staying == 7


async def test_closing_ends_what_is_under_way():
    look = LookUps()
    kept = look.kept()
    asking = asyncio.create_task(kept.get("a"))
    await look.begun(1)
    await kept.close()
    assert look.answers[0].cancelled()
    with pytest.raises(asyncio.CancelledError):
        await asking

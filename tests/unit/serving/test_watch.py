import asyncio

from devops_mcp.serving.watch import Watch


async def test_a_member_that_stays_too_long_expires_and_one_that_leaves_does_not() -> None:
    expired: asyncio.Queue[str] = asyncio.Queue()
    watch: Watch[str] = Watch(
        asyncio.get_running_loop(), 0.05, lambda member: expired.put_nowait(member) or False
    )

    watch.add("leaves")
    watch.add("stays")
    watch.discard("leaves")

    assert await asyncio.wait_for(expired.get(), 20) == "stays"
    assert len(watch) == 0
    assert expired.empty()


async def test_joining_twice_does_not_lengthen_the_time_and_restarting_does() -> None:
    expired: asyncio.Queue[str] = asyncio.Queue()
    watch: Watch[str] = Watch(
        asyncio.get_running_loop(), 0.05, lambda member: expired.put_nowait(member) or False
    )

    watch.add("first")
    watch.add("second")
    watch.add("first")
    watch.restart("first")

    assert [await asyncio.wait_for(expired.get(), 20) for _ in range(2)] == ["second", "first"]


async def test_a_member_granted_more_time_is_asked_again() -> None:
    asked: asyncio.Queue[int] = asyncio.Queue()

    def expired(member: str) -> bool:
        asked.put_nowait(asked.qsize())
        return asked.qsize() < 3

    watch: Watch[str] = Watch(asyncio.get_running_loop(), 0.02, expired)
    watch.add("slow")

    for _ in range(3):
        await asyncio.wait_for(asked.get(), 20)
    assert len(watch) in (0, 1)


async def test_the_oldest_goes_first() -> None:
    watch: Watch[str] = Watch(asyncio.get_running_loop(), 60, lambda member: False)
    for member in ("a", "b", "c"):
        watch.add(member)
    watch.discard("a")

    assert watch.pop_oldest() == "b"
    assert len(watch) == 1
    watch.close()

import asyncio
import socket
import time
from collections.abc import Callable
from typing import cast

import pytest
import uvloop

from devops_mcp.resilience.watch import Watch


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


class HandLoop:
    """A loop's clock, turned by hand."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def time(self) -> float:
        return self.time_s

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.due = callback

    call_later = call_at

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        callback(*arguments)


def seconds_a_sweep(members: int) -> float:
    """Of CPU, where one of so many is due."""
    loop = HandLoop()
    watch: Watch[int] = Watch(cast("asyncio.AbstractEventLoop", loop), 1.0, lambda member: False)
    for member in range(members):
        loop.time_s = float(member)
        watch.add(member)
    took = []
    for due in range(20):
        loop.time_s = due + 1.5
        begun = time.process_time_ns()
        loop.due()
        took.append(time.process_time_ns() - begun)
    assert len(watch) == members - 20
    return min(took) / 1e9


def test_a_sweep_costs_what_is_due_and_not_what_waits() -> None:
    """Thousands of idle connections end one after the other. As a ratio within one run; 40 where all are looked at."""
    assert seconds_a_sweep(30_000) < 10 * seconds_a_sweep(100)


class _Reader(asyncio.Protocol):
    """Watched for what comes second, from the first on; the process is held up until the time is over."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._watch: Watch[_Reader] = Watch(asyncio.get_running_loop(), 0.1, self._expired)
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if data == b"first":
            self._watch.add(self)
            self._client.send(b"second")
            time.sleep(0.2)
        else:
            self._watch.discard(self)
            self.outcome.set_result("read")

    def _expired(self, member: "_Reader") -> bool:
        self.outcome.set_result("expired")
        return False


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_what_has_come_in_time_is_read_before_a_process_that_was_held_up_gives_it_up(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """uvloop runs what is due before it reads."""

    async def outcome() -> str:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            transport, reader = await asyncio.get_running_loop().create_connection(
                lambda: _Reader(theirs), sock=ours
            )
            theirs.send(b"first")
            try:
                return await asyncio.wait_for(reader.outcome, 20)
            finally:
                transport.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert [runner.run(outcome()) for _ in range(3)] == ["read"] * 3

"""Connections that are shared, kept and closed."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.connections import ConnectionKey, Connections, connections


class System:
    """What is connected to, and what became of its connections."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.fails = False

    def connect(self, name: str):
        @asynccontextmanager
        async def connect():
            if self.fails:
                raise UpstreamUnavailable("not now")
            self.opened.append(name)
            try:
                yield name
            finally:
                self.closed.append(name)

        return connect


def key(name: str = "one", version: str = "1", person: str = "") -> ConnectionKey:
    return ConnectionKey(DEFAULT_TENANT_ID, name, version, person)


async def used(opened: Connections, system: System, of: ConnectionKey) -> None:
    async with opened.use(of, system.connect("".join(map(str, of[1:])))):
        pass


async def settled() -> None:
    """Whoever was told to end has had its turns."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_share_a_connection_and_another_person_has_one_of_its_own():
    system = System()
    async with connections() as opened:
        await asyncio.gather(*(used(opened, system, key()) for _ in range(5)))
        await used(opened, system, key(person="alice"))
        assert (system.opened, system.closed) == (["one1", "one1alice"], [])
    assert sorted(system.closed) == ["one1", "one1alice"]


async def test_a_connection_that_is_retired_is_closed_when_its_last_call_has_ended():
    system = System()
    async with connections() as opened:
        async with opened.use(key(), system.connect("old")) as client:
            opened.retire(DEFAULT_TENANT_ID, "one", but="2")
            await settled()
            assert (client, system.closed) == ("old", [])
            await used(opened, system, key(version="2"))
        await settled()
        assert (system.opened, system.closed) == (["old", "one2"], ["old"])
        opened.retire(DEFAULT_TENANT_ID, "another")
        opened.retire(DEFAULT_TENANT_ID, "one")
        await settled()
        assert system.closed == ["old", "one2"]


async def test_those_that_were_not_used_for_longest_are_closed_first_and_never_one_in_use():
    system = System()
    async with connections(keep=2) as opened, opened.use(key("busy"), system.connect("busy")):
        for name in ("a", "b", "a", "c"):
            await used(opened, system, key(name))
        await settled()
        assert system.closed == ["a1", "b1", "a1"]


async def test_what_cannot_be_opened_is_told_to_all_who_wait_and_tried_anew_by_the_next():
    system = System()
    system.fails = True
    async with connections() as opened:
        failed = await asyncio.gather(*(used(opened, system, key()) for _ in "ab"), return_exceptions=True)
        assert [type(error) for error in failed] == [UpstreamUnavailable] * 2
        await settled()
        system.fails = False
        await used(opened, system, key())
    assert system.opened == system.closed == ["one1"]


async def test_a_caller_that_gives_up_leaves_the_connection_to_the_others():
    system = System()
    async with connections() as opened:

        async def held() -> None:
            async with opened.use(key(), system.connect("shared")):
                await asyncio.Event().wait()

        waiting = asyncio.create_task(held())
        await settled()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await used(opened, system, key())
        assert (system.opened, system.closed) == (["shared"], [])

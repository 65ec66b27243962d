"""The pool, over a network that swallows and a server that loses patience."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from psycopg import DataError

from devops_mcp.models.errors import InvalidInput, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.transaction import Transaction
from faults.proxy import FaultProxy, Hold, a_fault_proxy

ANSWER_S = 0.5
LONG_S = 20.0
"""Much longer than it takes to notice, much shorter than for ever."""


@pytest_asyncio.fixture
async def proxied(database) -> AsyncIterator[tuple[Database, FaultProxy]]:
    port = urlsplit(database.app_url).port
    assert port is not None
    async with (
        a_fault_proxy(port) as proxy,
        open_database(
            database.app_url.replace(f":{port}/", f":{proxy.port}/"),
            pool_size=3,
            application="test",
            answer_s=ANSWER_S,
        ) as opened,
    ):
        await opened.ping()
        yield opened, proxy


async def clock(opened: Database) -> None:
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.events.clock()


async def test_a_server_that_says_nothing_more_is_given_up_and_asked_anew(proxied):
    """P02, X01: connections that a firewall has forgotten are never closed; whoever waits on one would wait for ever."""
    opened, proxy = proxied
    await asyncio.gather(*(clock(opened) for _ in range(3)))
    proxy.forget()
    async with asyncio.timeout(LONG_S):
        with pytest.raises(Unavailable):
            await clock(opened)
        await asyncio.gather(*(clock(opened) for _ in range(6)))


async def test_a_commit_without_an_answer_is_told_as_an_outage(proxied):
    """P02: whether it was committed is unknown, and who asked is told so in time."""
    opened, proxy = proxied
    trap = proxy.trap(b"COMMIT", Hold.AFTER)
    async with asyncio.timeout(LONG_S):
        with pytest.raises(Unavailable):
            await clock(opened)
        assert trap.sprung.is_set()
        await clock(opened)


async def test_who_slept_within_a_transaction_is_told_of_an_outage(database):
    """D07: the server ends a transaction that its holder, stopped and woken, has not gone on with."""
    async with open_database(database.worker_url, pool_size=1, application="test") as opened:
        with pytest.raises(Unavailable):
            await asleep(opened, None)
        with pytest.raises(InvalidInput):
            await asleep(opened, InvalidInput("its own trouble is not hidden"))
        async with opened.relaying() as outbox:
            assert await outbox.take(1) == []


async def asleep(opened: Database, trouble: Exception | None) -> None:
    async with opened.relaying() as outbox:
        await outbox._connection.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
        await asyncio.sleep(0.2)
        if trouble is not None:
            raise trouble
        await outbox.take(1)


async def test_what_precedes_a_statement_that_cannot_be_sent_precedes_the_next(database):
    """T02, H05: who goes on after a NUL is still within its transaction, and its tenant's."""
    a_nul, whose = "SELECT %s::text", "SELECT current_setting('app.tenant', true), pg_current_xact_id()"

    async def seen(tx: Transaction) -> list[Any]:
        with pytest.raises(DataError):
            await tx.connection.execute(a_nul, ("\0",))
        return [await (await tx.connection.execute(whose)).fetchone() for _ in range(2)]

    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            one, other = await seen(tx)
        each = await opened.read(DEFAULT_TENANT_ID, seen)
        (first, _), (second, _) = await opened.write(DEFAULT_TENANT_ID, seen)
    tenant = str(DEFAULT_TENANT_ID)
    assert one == other == (tenant, one[1])
    assert [row[0] for row in each] == [tenant, tenant]
    assert (first, second or None) == (tenant, None)

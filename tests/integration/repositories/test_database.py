"""The pool, over a network that swallows and a server that loses patience."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import pytest_asyncio
from psycopg import AsyncCursor, DataError, InterfaceError, OperationalError
from psycopg.errors import DivisionByZero
from psycopg.rows import dict_row, kwargs_row, tuple_row

from devops_mcp.models.errors import InvalidInput, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.caller import set_caller
from devops_mcp.repositories.blobs import BlobRow
from devops_mcp.repositories.connection import LARGE, Connection
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.transaction import Transaction
from faults.proxy import FaultProxy, Hold, a_fault_proxy

ANSWER_S = 0.5
PATIENT_S = 1.5
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


async def test_a_statement_that_nobody_waits_for_any_more_is_stopped_in_the_server(database):
    """A client that hangs up takes its task with it; the connection serves the next one."""
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        await clock(opened)
        sleeping = asyncio.create_task(asking(opened, "SELECT pg_sleep(4)"))
        async with open_database(database.app_url, pool_size=1, application="watch") as watching:
            async with asyncio.timeout(LONG_S):
                while not await asking(watching, _SLEEPS):
                    await asyncio.sleep(0.01)
            sleeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeping
            async with asyncio.timeout(LONG_S):
                await clock(opened)
            assert not await asking(watching, _SLEEPS)


async def test_a_statement_larger_than_what_a_socket_takes_at_once_arrives_whole(database):
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        [(length, text)] = await asking(
            opened, "SELECT length(%(text)s), %(text)s", {"text": "x" * 20_000_000}
        )
    assert (length, len(text)) == (20_000_000, 20_000_000)


async def test_connections_leave_no_descriptor_open_however_they_end(database):
    """I11: closed by us, by the server while nobody uses them, and given up in the midst of an answer."""
    before = open_descriptors()
    async with open_database(database.app_url, pool_size=3, application="test", answer_s=PATIENT_S) as opened:
        with pytest.raises(Unavailable):
            await asking(opened, "SELECT pg_sleep(4)")
        await asyncio.gather(*(clock(opened) for _ in range(3)))
        async with open_database(database.superuser_url, pool_size=1, application="kill") as killing:
            await asking(killing, _END_THE_OTHERS)
        # The server may hang up just as it is asked.
        await asyncio.gather(*(clock(opened) for _ in range(3)), return_exceptions=True)
    assert open_descriptors() == before


async def test_a_connection_that_listens_leaves_no_descriptor_open_when_the_server_ends_it(database):
    """I11"""
    before = open_descriptors()
    async with await Connection.connect(database.app_url, autocommit=True) as connection:
        await connection.execute("LISTEN anything")
        async with open_database(database.superuser_url, pool_size=1, application="kill") as killing:
            pid = str(connection.info.backend_pid)
            await asking(killing, "SELECT pg_terminate_backend(%(pid)s::int)", {"pid": pid})
        with pytest.raises(OperationalError):
            await anext(connection.notifies(timeout=LONG_S))
    assert open_descriptors() == before


async def test_a_process_without_another_descriptor_says_that_the_database_is_unavailable(
    database, monkeypatch
):
    def exhausted(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", exhausted)
            with pytest.raises(Unavailable):
                await clock(opened)
        await clock(opened)


async def test_a_statement_that_failed_as_it_was_to_be_prepared_can_be_asked_again(database):
    async with await Connection.connect(database.app_url, autocommit=True) as connection:
        for _ in range(5):
            await connection.execute("SELECT 'often'")
        connection.let_precede((b"SELECT 1 / 0", None))
        with pytest.raises(DivisionByZero):
            await connection.execute("SELECT 'often'")
        for _ in range(7):
            assert await (await connection.execute("SELECT 'often'")).fetchall() == [("often",)]


DEFERRED = "INSERT INTO delivery_keys (source, key) VALUES (%s, 1 / %s)"


async def deferring(opened: Database, source: str, divisor: int, trouble: Exception | None = None) -> None:
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        tx.connection.defer(DEFERRED, (source, divisor))
        if trouble is not None:
            raise trouble


async def defer_alone(tx: Transaction) -> None:
    tx.connection.defer(DEFERRED, ("nothing to go out with", 1))


async def sources(opened: Database) -> list[str]:
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        cursor = await tx.connection.execute("SELECT source FROM delivery_keys ORDER BY source")
        return [row[0] for row in await cursor.fetchall()]


async def test_what_is_deferred_is_done_with_the_next_statement_or_the_commit_or_not_at_all(database):
    """I4"""
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        for n in range(7):  # then it is prepared
            await deferring(opened, f"{n} alone", 1)
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            tx.connection.defer(DEFERRED, ("before", 1))
            cursor = await tx.connection.execute("SELECT count(*) FROM delivery_keys")
            assert await cursor.fetchone() == (8,)
        with pytest.raises(InvalidInput):
            await deferring(opened, "undone", 1, InvalidInput("no"))
        with pytest.raises(DivisionByZero):
            await deferring(opened, "failed", 0)
        with pytest.raises(DataError):
            await deferring(opened, "\0", 1)
        async with opened.joining(DEFAULT_TENANT_ID):
            with pytest.raises(InvalidInput):
                await deferring(opened, "undone in a part", 1, InvalidInput("no"))
            with pytest.raises(DivisionByZero):
                await deferring(opened, "failed in a part", 0)
            await deferring(opened, "in a part", 1)
        with pytest.raises(AssertionError):
            await opened.write(DEFAULT_TENANT_ID, defer_alone)
        assert await sources(opened) == [*(f"{n} alone" for n in range(7)), "before", "in a part"]


async def test_what_is_asked_comes_with_the_next_answer_or_when_it_is_awaited(database):
    def one(rows: Sequence[tuple[Any, ...]]) -> Any:
        return rows[0][0]

    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        for n in range(7):  # then they are prepared
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                first = tx.connection.ask("SELECT %s::int + 1", (n,), one)
                second = tx.connection.ask("SELECT current_setting('app.tenant')", (), one)
                cursor = await tx.connection.execute("SELECT %s::int", (n,))
                assert await cursor.fetchone() == (n,)
                assert (await second, await first) == (str(DEFAULT_TENANT_ID), n + 1)
                assert await tx.connection.ask("SELECT 'alone'", (), one) == "alone"
        with pytest.raises(DivisionByZero):
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.connection.ask("SELECT 1 / 0", (), one)
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            assert await tx.connection.ask("SELECT 'again'", (), one) == "again"


async def test_a_cursor_serves_again_only_whoever_asks_for_such_a_one(database):
    async with await Connection.connect(database.app_url, autocommit=True) as connection:

        async def used(row_factory: Any, **options: bool) -> AsyncCursor[Any]:
            async with connection.cursor(row_factory=row_factory, **options) as cursor:
                await cursor.execute("SELECT 1 AS real")
                return cursor

        first = await used(dict_row)
        for _ in range(20):
            await used(kwargs_row(complex))
        assert await used(dict_row) is first
        binary = await used(tuple_row, binary=True)
        assert await used(tuple_row) is not binary


_SLEEPS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
_END_THE_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'test'"


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def asking(
    opened: Database, statement: LiteralString, values: dict[str, str] | None = None
) -> list[Any]:
    async with opened.transaction(DEFAULT_TENANT_ID) as tx:
        return await (await tx.connection.execute(statement, values)).fetchall()


async def test_statements_of_the_same_kind_find_their_own_rows_whoever_went_before(database):
    """T03: the same rows read within one another, one after another and after one that failed, over one connection."""
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            async with rows_of(tx, "SELECT 1, %s::text", "outer") as outer:
                async with rows_of(tx, "SELECT 2, %s::text", "inner") as inner:
                    assert await inner.fetchall() == [(2, "inner")]
                assert await outer.fetchall() == [(1, "outer")]
            async with rows_of(tx, "SELECT 1.5, %s::int", 3) as third:
                assert await third.fetchall() == [(Decimal("1.5"), 3)]
        for _ in range(2):
            with pytest.raises(DataError):
                async with opened.transaction(DEFAULT_TENANT_ID) as tx, rows_of(tx, "SELECT 1/%s", 0):
                    pass
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            async with rows_of(tx, "SELECT 4, %s::text", None) as fourth:
                assert await fourth.fetchall() == [(4, None)]
            with pytest.raises(InterfaceError):
                await fourth.fetchall()


@asynccontextmanager
async def rows_of(
    tx: Transaction, statement: LiteralString, value: object
) -> AsyncIterator[AsyncCursor[Any]]:
    async with tx.connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement, (value,))
        yield cursor


async def test_a_crowd_of_one_caller_leaves_connections_to_others_and_to_probes(database):
    """H04, T03: a request that waits for a lock holds a connection, and sixty of them would hold all there are."""
    alice, bob, other = new_id(), new_id(), new_id()
    release, held = asyncio.Event(), 0

    async def linger() -> None:
        nonlocal held
        set_caller(alice)
        async with opened.transaction(DEFAULT_TENANT_ID):
            held += 1
            await release.wait()

    async with (
        open_database(database.app_url, pool_size=5, application="test") as opened,
        asyncio.timeout(LONG_S),
    ):
        crowd = [asyncio.create_task(linger()) for _ in range(9)]
        while held < 4:
            await asyncio.sleep(0.01)
        await opened.ping()
        set_caller(bob)
        async with opened.transaction(other) as tx:
            await tx.events.clock()
        assert held == 4
        release.set()
        await asyncio.gather(*crowd)
    assert held == 9


async def test_what_a_caller_could_not_have_is_none_that_it_holds(database, monkeypatch):
    async def gone(_: Database) -> Connection:
        raise OperationalError("the server closed the connection unexpectedly")

    set_caller(new_id())
    async with open_database(database.app_url, pool_size=5, application="test") as opened:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "_living", gone)
            for _ in range(6):
                with pytest.raises(Unavailable):
                    await clock(opened)
        async with asyncio.timeout(LONG_S):
            await clock(opened)
            with pytest.raises(DivisionByZero):
                async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                    await tx.events._connection.execute("SELECT 1 / 0")
            await asyncio.gather(*(clock(opened) for _ in range(9)))


async def test_a_connection_comes_back_also_where_who_had_it_is_cancelled_meanwhile(database):
    """S04: else each client that hangs up at that moment takes one away for good, until nobody can be answered."""
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        await opened.ping()
        coming_back, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
        add = opened._pool._add_to_pool

        async def held_up(connection: Connection) -> None:
            coming_back.set()
            await gate.wait()
            await add(connection)

        async def slow(tx: Transaction) -> None:
            await tx.events.clock()
            await done.wait()

        opened._pool._add_to_pool = held_up
        having = asyncio.create_task(opened.read(DEFAULT_TENANT_ID, slow))
        waiting = asyncio.create_task(clock(opened))
        while not opened._pool._waiting:
            await asyncio.sleep(0)
        done.set()
        await coming_back.wait()
        having.cancel()
        await asyncio.wait([having])
        gate.set()
        await waiting
    assert having.cancelled()


async def test_a_connection_that_has_carried_a_large_value_is_not_kept(database):
    """H04: the driver's buffers keep the size of what went through them."""
    async with open_database(database.app_url, pool_size=1, application="test") as opened:

        async def serving() -> int:
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                return tx.connection.pgconn.backend_pid

        async def carrying(size: int) -> UUID:
            blob_id = new_id()
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.blobs.add(BlobRow(blob_id, "database", size, b"\0" * 32))
                await tx.blobs.write(blob_id, b"x" * size)
            return blob_id

        first = await serving()
        await carrying(LARGE)
        assert await serving() == first
        large = await carrying(LARGE + 1)
        second = await serving()
        assert second != first
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            assert await tx.blobs.read(large) == b"x" * (LARGE + 1)
        assert await serving() != second

"""Transactions that are parts of one."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.events.model import ActivityRecorded
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Conflict, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations.contexts import EVERY, NEWEST
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.events import Acceptance
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.resilience.afterwards import afterwards
from rest_api.once import Mark, Once, Said
from support.tenants import add_tenant

OWNER = new_id()
MARK = Mark(DEFAULT_TENANT_ID, CallKey(OWNER, "POST /x", "key"), b"a request")


@pytest.fixture
async def db(database):
    async with open_database(database.app_url, pool_size=3, application="test") as opened:
        yield opened


async def create(db, title: str, error: Exception | None = None) -> None:
    async with db.transaction(DEFAULT_TENANT_ID) as tx:
        await tx.contexts.create(new_id(), OWNER, title, {})
        if error is not None:
            raise error


def an_event() -> ActivityRecorded:
    return ActivityRecorded(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, system="ci", source="ci", subject="acme/shop", title="a build",
        occurred_at=utc_now(), vendor_type="build",
    )  # fmt: skip


async def create_joining(db, title: str, error: Exception, *, apart: str | None = None) -> None:
    async with db.joining(DEFAULT_TENANT_ID):
        await create(db, title)
        if apart is not None:
            await asyncio.create_task(create(db, apart))
        raise error


def titles(database) -> set[str]:
    with psycopg.connect(database.superuser_url) as connection:
        return {row[0] for row in connection.execute("SELECT title FROM contexts").fetchall()}


async def test_parts_commit_together_and_are_told_of_afterwards(db, database):
    told: list[str] = []

    async def tell() -> None:
        told.append(f"there are {sorted(titles(database))}")

    async with db.joining(DEFAULT_TENANT_ID):
        await create(db, "a")
        await afterwards(tell)
        with pytest.raises(ValueError, match="undone"):
            await create(db, "undone", ValueError("undone"))
        await create(db, "b")
        assert (titles(database), told) == (set(), [])
    assert told == ["there are ['a', 'b']"]


@pytest.mark.parametrize(
    ("error", "kept"), [(Conflict("no"), {"a"}), (Unavailable("later"), set()), (ValueError("bug"), set())]
)
async def test_what_is_kept_depends_on_how_it_ends(db, database, error, kept):
    """I2"""
    with pytest.raises(type(error)):
        await create_joining(db, "a", error)
    assert titles(database) == kept


async def test_tasks_that_are_started_within_are_no_parts(db, database):
    with pytest.raises(ValueError, match="bug"):
        await create_joining(db, "mine", ValueError("bug"), apart="its own")
    assert titles(database) == {"its own"}


async def test_who_is_killed_before_the_commit_has_done_nothing_and_the_key_is_free(db, database):
    """H14, I2: the lock, the effect and the answer end with the connection."""
    once = Once(db, Keyring([SecretStr("a master key for the tests")]), timedelta(minutes=1))

    async def killed() -> Said:
        await create(db, "lost")
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            )
        return Said(201, b"never sent")

    async def done() -> Said:
        await create(db, "done")
        return Said(201, b"done")

    with pytest.raises(Unavailable):
        await once.with_its_effect(MARK, killed)
    assert titles(database) == set()
    assert await once.with_its_effect(MARK, done) == Said(201, b"done")
    assert await once.with_its_effect(MARK, done) == Said(201, b"done", replayed=True)
    assert titles(database) == {"done"}


async def test_a_key_is_known_while_master_keys_are_exchanged(db):
    """K03"""

    async def done() -> Said:
        return Said(201, b"done")

    def with_keys(*keys: str) -> Once:
        return Once(db, Keyring([SecretStr(key) for key in keys]), timedelta(minutes=1), now=utc_now)

    await with_keys("the first master key").with_its_effect(MARK, done)
    exchanged = with_keys("the second master key", "the first master key")
    assert (await exchanged.with_its_effect(MARK, done)).replayed


async def test_what_only_looks_sees_its_tenant_alone(db, database):
    """T02, T03: the tenant ends with the look, also for who uses the connection next."""
    other = new_id()
    add_tenant(database, other)
    await create(db, "mine")

    async def twice(tx) -> tuple[int, int]:
        return len(await tx.contexts.page(None, EVERY, NEWEST, 10)), len(
            await tx.contexts.page(None, EVERY, NEWEST, 10)
        )

    assert await db.read(DEFAULT_TENANT_ID, twice) == (1, 1)
    for _ in range(4):
        assert await db.read(other, lambda tx: tx.contexts.page(None, EVERY, NEWEST, 10)) == []
        assert (
            len(await db.read(DEFAULT_TENANT_ID, lambda tx: tx.contexts.page(None, EVERY, NEWEST, 10))) == 1
        )


async def test_what_is_set_for_one_look_holds_for_it_and_for_no_other(db):
    setting = (b"SELECT set_config('lock_timeout', '123ms', true)", ())

    async def looked(tx) -> list[str]:
        tx.connection.let_also_precede(setting)
        shown = [await tx.connection.execute("SHOW lock_timeout") for _ in range(2)]
        return [(await cursor.fetchone())[0] for cursor in shown]

    assert await db.read(DEFAULT_TENANT_ID, looked) == ["123ms", "0"]
    async with db.transaction(DEFAULT_TENANT_ID) as tx:
        assert await looked(tx) == ["123ms", "123ms"]


async def test_what_one_statement_writes_is_committed_with_its_answer_or_not_at_all(db):
    event = Acceptance.of([an_event()], ["id:1"], b"{}")
    assert len(await db.write(DEFAULT_TENANT_ID, lambda tx: tx.events.accept_all([event]))) == 1
    again = Acceptance.of([event.events[0]], ["id:2"], b"{}")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await db.write(DEFAULT_TENANT_ID, lambda tx: tx.events.accept_all([again]))
    repeated = [event, Acceptance.of([an_event()], ["id:2"], b"{}")]
    assert list(await db.write(DEFAULT_TENANT_ID, lambda tx: tx.events.accept_all(repeated))) == [1]


async def test_a_second_statement_of_a_write_sees_and_writes_nothing(db):
    """T02"""
    await create(db, "mine")

    async def twice(tx) -> tuple[int, int]:
        return len(await tx.contexts.page(None, EVERY, NEWEST, 10)), len(
            await tx.contexts.page(None, EVERY, NEWEST, 10)
        )

    assert await db.write(DEFAULT_TENANT_ID, twice) == (1, 0)


async def test_what_only_looks_survives_connections_that_died_in_the_pool(db, database):
    """P02"""
    await create(db, "mine")
    for _ in range(3):
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'test'"
            )
        assert (
            len(await db.read(DEFAULT_TENANT_ID, lambda tx: tx.contexts.page(None, EVERY, NEWEST, 10))) == 1
        )

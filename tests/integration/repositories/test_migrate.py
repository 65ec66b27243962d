"""Bringing a database to the schema of this code, against PostgreSQL. Each test has an empty database that the owner's role owns."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from devops_mcp.models.errors import ConfigurationError, PlatformError, Unavailable
from devops_mcp.repositories import migrate as module
from devops_mcp.repositories.migrate import migrate, migrations
from support.databases import empty_database

NAMES = [name for name, _ in migrations()]


@pytest.fixture
def empty(stack, administration) -> Iterator[str]:
    with empty_database(stack, administration) as owner_url:
        yield owner_url


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def offer(monkeypatch: pytest.MonkeyPatch, *more: tuple[str, str]) -> None:
    """Let the code have these migrations, and no others."""
    monkeypatch.setattr(module, "migrations", lambda: more)


def test_migrations_are_numbered_without_a_gap():
    assert [name[:4] for name in NAMES] == [f"{n:04}" for n in range(1, len(NAMES) + 1)]


async def test_an_empty_database_gets_every_migration_in_order_and_a_second_run_does_nothing(empty):
    assert await migrate(empty) == NAMES
    applied = rows(empty, "SELECT name, digest, applied_at FROM schema_migrations ORDER BY name")
    assert await migrate(empty) == []
    assert rows(empty, "SELECT name, digest, applied_at FROM schema_migrations ORDER BY name") == applied


async def test_of_several_at_once_one_applies_and_all_end_well(empty):
    outcomes = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(outcomes) == [[], [], [], NAMES]


async def test_a_migration_that_was_changed_afterwards_is_refused_by_name(empty, monkeypatch):
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a ()"))
    await migrate(empty)
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a (id uuid)"), ("0002_b.sql", "CREATE TABLE b ()"))
    with pytest.raises(ConfigurationError, match=r"0001_a\.sql"):
        await migrate(empty)
    assert rows(empty, "SELECT to_regclass('b')") == [(None,)]


async def test_a_database_that_is_ahead_of_the_code_is_left_alone(empty, monkeypatch):
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a ()"), ("0002_b.sql", "CREATE TABLE b ()"))
    await migrate(empty)
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a ()"))
    with pytest.raises(ConfigurationError, match=r"0002_b\.sql.*newer version"):
        await migrate(empty)


async def test_a_migration_that_fails_leaves_nothing_of_itself_and_those_before_it_stay(empty, monkeypatch):
    broken = ("0002_b.sql", "CREATE TABLE b (); CREATE TABLE a ()")
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a ()"), broken)
    with pytest.raises(psycopg.errors.DuplicateTable):
        await migrate(empty)
    assert rows(empty, "SELECT name FROM schema_migrations") == [("0001_a.sql",)]
    assert rows(empty, "SELECT to_regclass('a')::text, to_regclass('b')::text") == [("a", None)]
    offer(monkeypatch, ("0001_a.sql", "CREATE TABLE a ()"), ("0002_b.sql", "CREATE TABLE b ()"))
    assert await migrate(empty) == ["0002_b.sql"]


@pytest.mark.parametrize(
    ("address", "error", "reason"),
    [
        ("postgresql://owner:hunter2@127.0.0.1:1/db", Unavailable, "it does not answer"),
        ("{url}?user=nobody_knows&password=hunter2", Unavailable, "password authentication failed"),
        ("postgresql://owner:hunter2 with spaces@127.0.0.1/db", ConfigurationError, "not of the form"),
        ("postgresql://owner:hunter2@ss@127.0.0.1:1/db", PlatformError, "owner"),
    ],
)
async def test_what_is_wrong_with_an_address_is_said_without_its_password(empty, address, error, reason):
    with pytest.raises(error, match=reason) as refused:
        await migrate(address.format(url=empty))
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None

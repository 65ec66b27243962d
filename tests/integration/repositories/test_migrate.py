"""Bringing a database to the schema of this code, against PostgreSQL. Each test has an empty database that the owner's role owns."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from devops_mcp.embedded.postgres import SUPERUSER
from devops_mcp.embedded.roles import OWNER
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.repositories import migrate as module
from devops_mcp.repositories.migrate import migrate, migrations


@pytest.fixture
def empty(stack, administration) -> Iterator[str]:
    """The owner's address of a database without our schema. pgvector is there: making it known is the superuser's."""
    name = f"test_{uuid4().hex}"
    administration.execute(
        sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
    )
    with psycopg.connect(stack.servers.database_url(SUPERUSER, name), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield stack.servers.database_url(OWNER, name)
    administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


NAMES = [name for name, _ in migrations()]


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

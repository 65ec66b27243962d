"""Brings a database to the schema this code expects: plain SQL files, in order, under a lock, each in its own transaction."""

from hashlib import sha256
from importlib.resources import files

from psycopg import AsyncConnection

from devops_mcp.models.errors import ConfigurationError
from devops_mcp.repositories.owner import connect_as_owner

_LOCK = 0x646D6370  # any number that is ours: pg_advisory_lock keys are shared by the whole database


def migrations() -> tuple[tuple[str, str], ...]:
    """Name and text of each migration, in the order of application."""
    folder = files("devops_mcp.repositories") / "migrations"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((name, (folder / name).read_text("utf-8")) for name in found)


async def migrate(owner_url: str) -> list[str]:
    """Apply what is missing and return the names applied.

    Safe to call from several places at once: one applies, the others wait. Raises `ConfigurationError` when a migration
    that was applied has changed since, or the database knows one that this code does not have; `Unavailable` when there is no
    connection to be had.
    """
    async with connect_as_owner(owner_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        cursor = await connection.execute("SELECT name, digest FROM schema_migrations")
        applied: dict[str, str] = {str(name): str(digest) for name, digest in await cursor.fetchall()}
        return await _apply_missing(connection, applied)


async def _apply_missing(connection: AsyncConnection, applied: dict[str, str]) -> list[str]:
    known = dict(migrations())
    if unknown := sorted(applied.keys() - known.keys()):
        raise ConfigurationError(
            f"the database has migration {unknown[0]}, which this version does not know; use a newer version"
        )
    done: list[str] = []
    for name, text in known.items():
        digest = sha256(text.encode()).hexdigest()
        if name not in applied:
            async with connection.transaction():
                await connection.execute(text.encode())
                await connection.execute(
                    "INSERT INTO schema_migrations (name, digest) VALUES (%s, %s)", (name, digest)
                )
            done.append(name)
        elif applied[name] != digest:
            raise ConfigurationError(
                f"migration {name} was changed after it was applied; add a new one in its place"
            )
    return done

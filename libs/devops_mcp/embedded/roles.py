"""The roles and the database of an embedded cluster, made by its superuser."""

from typing import LiteralString

import psycopg
from psycopg import sql

from devops_mcp.embedded.state import Secrets

DATABASE = "devops_mcp"
OWNER, REST, MCP, WORK = "devops_mcp_owner", "devops_mcp_rest", "devops_mcp_mcp", "devops_mcp_work"
_APP, _WORKER = "devops_mcp_app", "devops_mcp_worker"
_LIMITS: LiteralString = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"


async def create_roles(superuser_url: str, secrets: Secrets) -> None:
    """Create the roles that are missing: the schema's owner, the two groups, and one member for each service."""
    async with await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as connection:
        existing = await _existing_roles(connection)
        for group in (_APP, _WORKER):
            if group not in existing:
                await connection.execute(
                    sql.SQL("CREATE ROLE {} NOLOGIN " + _LIMITS).format(sql.Identifier(group))
                )
        members: tuple[tuple[str, str, str | None], ...] = (
            (OWNER, secrets.owner, None),
            (REST, secrets.rest, _APP),
            (MCP, secrets.mcp, _APP),
            (WORK, secrets.work, _WORKER),
        )
        for name, password, member_of in members:
            if name not in existing:
                await _create_login(connection, name, password, member_of)


async def create_database(superuser_url: str, name: str = DATABASE) -> None:
    """Create the database unless it exists: the owner's, with pgvector, and closed to roles that are none of ours."""
    async with await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as connection:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if await found.fetchone():
            return
        database, owner = sql.Identifier(name), sql.Identifier(OWNER)
        await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
        await connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        groups = sql.SQL(", ").join((sql.Identifier(_APP), sql.Identifier(_WORKER)))
        await connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, groups))


async def create_extension(superuser_url: str) -> None:
    """Make pgvector known in the database that the address names: not a right of the schema's owner."""
    async with await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")


async def _existing_roles(connection: psycopg.AsyncConnection) -> set[str]:
    rows = await (await connection.execute("SELECT rolname FROM pg_roles")).fetchall()
    return {name for (name,) in rows}


async def _create_login(
    connection: psycopg.AsyncConnection, name: str, password: str, group: str | None
) -> None:
    # The server gets the verifier, so that the password is in no statement it could log.
    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + _LIMITS).format(
        sql.Identifier(name), sql.Literal(verifier)
    )
    membership = sql.SQL(" IN ROLE {}").format(sql.Identifier(group)) if group else sql.SQL("")
    await connection.execute(statement + membership)

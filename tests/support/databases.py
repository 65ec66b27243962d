"""Databases without our schema, for what makes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
from psycopg import sql

from devops_mcp.embedded.postgres import SUPERUSER
from devops_mcp.embedded.roles import OWNER
from support.stack import Stack


@contextmanager
def empty_database(stack: Stack, administration: psycopg.Connection) -> Iterator[str]:
    """A database as an operator prepares it, the owner's and with pgvector; gives the owner's address, and drops it at the end."""
    name = f"test_{uuid4().hex}"
    identifier = sql.Identifier(name)
    administration.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, sql.Identifier(OWNER)))
    with psycopg.connect(stack.servers.database_url(SUPERUSER, name), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    yield stack.servers.database_url(OWNER, name)
    administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))

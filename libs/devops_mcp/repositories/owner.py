"""The connection of the schema's owner: for migrations and an installation's first keys, never for a service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection, OperationalError, ProgrammingError, errors
from psycopg.rows import TupleRow

from devops_mcp.models.errors import ConfigurationError, Unavailable

_CONNECT_S = 10


@asynccontextmanager
async def connect_as_owner(
    owner_url: str, *, autocommit: bool = False
) -> AsyncIterator[AsyncConnection[TupleRow]]:
    """Connect; commits at the end of the block, rolls back on an error.

    Raises `ConfigurationError` when the address is none, or is of a role that lacks the owner's rights; `Unavailable` when there is no
    answer or we are refused.
    """
    try:
        async with await _connect(owner_url, autocommit=autocommit) as connection:
            yield connection
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"the role given as the schema's owner lacks a right: {error.diag.message_primary}"
        ) from error


async def _connect(owner_url: str, *, autocommit: bool) -> AsyncConnection[TupleRow]:
    try:
        return await AsyncConnection.connect(owner_url, autocommit=autocommit, connect_timeout=_CONNECT_S)
    except ProgrammingError:
        # Its text would show parts of the address, and so perhaps of the password.
        raise ConfigurationError(
            "the address of the schema's owner is not of the form postgresql://user:password@host:port/database"
        ) from None
    except OperationalError as error:
        raise Unavailable(f"the database cannot be reached as the schema's owner: {_reason(error)}") from None


def _reason(error: OperationalError) -> str:
    """What the server said; when it said nothing, not the library's text, which may show parts of a wrong address."""
    _, _, said = str(error).partition("FATAL:")
    return said.splitlines()[0].strip() if said else "it does not answer"

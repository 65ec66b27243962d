"""The pool, with a short way where nobody waits."""

import asyncio
from time import monotonic
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from devops_mcp.repositories.connection import Connection


class Pool(AsyncConnectionPool[Connection]):
    """psycopg's, which takes its locks and goes through a dozen calls for each connection that is lent and comes back.

    Those that were used last are lent first: their statements are prepared and in the server's cache, and the others can be let go.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._returning: set[asyncio.Task[None]] = set()

    async def putconn(self, conn: Connection) -> None:
        """As psycopg's, to the end also where who gives it back is cancelled: it would be lost, and its place in the pool for good."""
        returning = asyncio.create_task(super().putconn(conn), name="connection going back")
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)
        await asyncio.shield(returning)

    def take(self) -> Connection | None:
        """One that is here, if there is one; it goes back as any other."""
        if self._closed or not self._pool:
            return None
        connection = self._pool.pop()
        self._nconns_min = min(self._nconns_min, len(self._pool))
        connection._pool = self
        return connection

    def keep(self, connection: Connection) -> bool:
        """Take one back; False, and it is to be put back, where it is not in order or somebody waits for it."""
        if self._closed or self._waiting or connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        if connection._created_at <= self._drained_at or connection._expire_at <= monotonic():
            return False
        # As psycopg's: what is here must not refer to what holds it.
        connection._pool = None
        self._pool.append(connection)
        return True

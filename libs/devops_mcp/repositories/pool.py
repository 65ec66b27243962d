"""The pool, with a short way where nobody waits."""

from time import monotonic

from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from devops_mcp.repositories.connection import Connection


class Pool(AsyncConnectionPool[Connection]):
    """psycopg's, which takes its locks and goes through a dozen calls for each connection that is lent and comes back.

    Those that were used last are lent first: their statements are prepared and in the server's cache, and the others can be let go.
    """

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

"""The pool of connections, and the transaction that knows its tenant."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import TypeVar
from uuid import UUID

from psycopg import Error, InterfaceError, OperationalError, errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import set_json_loads
from psycopg_pool import PoolTimeout

from devops_mcp.models.agents import LIVES_FOR
from devops_mcp.models.errors import DeadlineExceeded, PlatformError, Unavailable
from devops_mcp.models.integrations import Installed
from devops_mcp.models.principals import FoundKey
from devops_mcp.repositories.api_keys import find_by_prefix
from devops_mcp.repositories.connection import ANSWER_S, CONNECTING, Command, Connection, NoAnswer
from devops_mcp.repositories.integrations import installed_integrations
from devops_mcp.repositories.joined import JOINED, Joined
from devops_mcp.repositories.outbox import Relay
from devops_mcp.repositories.pool import Pool
from devops_mcp.repositories.quotas import QuotaVersion, quota_versions
from devops_mcp.repositories.rows import loads
from devops_mcp.repositories.shares import Blocks, Shares
from devops_mcp.repositories.tenants import find_tenant
from devops_mcp.repositories.transaction import Transaction
from devops_mcp.resilience.afterwards import holding

T = TypeVar("T")

_BEGIN: Command = (b"BEGIN", None)
_SESSION = "-c statement_timeout=5000 -c idle_in_transaction_session_timeout=15000 -c timezone=UTC"
_ALIVE = sql.SQL("SELECT 1")
_PATIENT = sql.SQL("SET statement_timeout = 120000")
_PATIENCE_S = 125.0
_CHECKOUT_S = 5.0
_OUTAGES = (errors.IdleInTransactionSessionTimeout, errors.ReadOnlySqlTransaction)
"""Told as internal errors, though nothing is wrong but the time or the place: we slept within a transaction, or this is the standby."""
_UNREACHABLE = (OperationalError, InterfaceError, PoolTimeout, *_OUTAGES)


class Database:
    """A pool of connections of one role. Open it with `open_database`."""

    def __init__(self, pool: Pool, url: str) -> None:
        self._pool = pool
        self._url = url
        self._shares = Shares(pool.max_size, _CHECKOUT_S)
        self._blocks = Blocks(pool.max_size, self._shares.of_one, _CHECKOUT_S)

    @asynccontextmanager
    async def transaction(self, tenant_id: UUID) -> AsyncIterator[Transaction]:
        """A transaction that sees and writes only this tenant's rows; commits at the end, rolls back on an error.

        Raises `Unavailable` when the database cannot be reached, `DeadlineExceeded` when a statement took longer than 5 s.
        Within `joining` it is a part of that one, and commits with it.
        """
        joined = JOINED.get()
        if joined is not None and joined.takes(tenant_id):
            with _TRANSLATED:
                async with joined.part() as transaction:
                    yield transaction
            return
        async with self._begun(_BEGIN, _tenant(tenant_id), tenant_id=tenant_id) as connection:
            transaction = Transaction(connection, tenant_id)
            yield transaction
            await transaction.flush()

    @asynccontextmanager
    async def joining(self, tenant_id: UUID) -> AsyncIterator[Transaction]:
        """One transaction for all that this task does for the tenant within the block, also where it asks for one of its own.

        What such a part does is undone where it raises, as ever. The whole is kept where the block ends, and also with an error that a
        repetition would meet again: a record of what was refused stays, as it would without this. After any other error nothing is kept.
        What others are to be told `afterwards` they are told when it is committed.

        What is done meanwhile for another tenant has a connection besides.
        """
        refusal: PlatformError | None = None
        caller = await self._blocks.take()
        try:
            with holding() as waiting:
                async with self._begun(_BEGIN, _tenant(tenant_id), tenant_id=tenant_id) as connection:
                    mark = JOINED.set(Joined(connection, tenant_id))
                    try:
                        yield Transaction(connection, tenant_id)
                    except PlatformError as error:
                        if error.retryable:
                            raise
                        refusal = error
                    finally:
                        JOINED.reset(mark)
        finally:
            self._blocks.give(caller)
        for tell in waiting:
            await tell()
        if refusal is not None:
            raise refusal

    async def read(self, tenant_id: UUID, look: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `look` finds of this tenant's rows, in one round trip a statement; it must not write.

        Each statement is a transaction by itself, sent together with what sets the tenant. Raises as `transaction` does.
        """
        return await self._by_itself(tenant_id, look, each=True)

    async def write(self, tenant_id: UUID, change: Callable[[Transaction], Awaitable[T]]) -> T:
        """What `change` does with its one statement, which is committed when it is answered: one round trip.

        A second statement has no tenant, and so neither sees nor writes anything. Raises as `transaction` does.
        """
        return await self._by_itself(tenant_id, change, each=False)

    async def _by_itself(
        self, tenant_id: UUID, work: Callable[[Transaction], Awaitable[T]], *, each: bool
    ) -> T:
        if JOINED.get() is not None:
            async with self.transaction(tenant_id) as transaction:
                return await work(transaction)
        with _TRANSLATED:
            connection, caller = await self._lent(tenant_id)
            try:
                connection.let_precede(_tenant(tenant_id), each=each)
                done = await work(Transaction(connection, tenant_id))
                assert not connection.defers, "what is deferred needs a transaction to go out with"
                return done
            except NoAnswer:
                await self._pool.drain()
                raise
            finally:
                await self._put_back(connection, caller, tenant_id)

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[Relay]:
        """A transaction over every tenant's outbox rows and nothing else; only the worker's role may."""
        async with self._begun(_BEGIN) as connection:
            yield Relay(connection)

    async def find_api_keys(self, prefix: str) -> list[FoundKey]:
        """The keys of whatever tenant that have this prefix: the one look-up that precedes knowing the tenant."""
        with _TRANSLATED:
            async with self._connection() as connection:
                return await find_by_prefix(connection, prefix)

    async def find_tenant(self, named: str) -> UUID | None:
        """The tenant of this slug or id, for a login that names it."""
        with _TRANSLATED:
            async with self._connection() as connection:
                return await find_tenant(connection, named)

    async def installed_integrations(self) -> list[Installed]:
        """Which integrations the tenants have made, in which version, and which tenants are suspended: nothing of what they are."""
        with _TRANSLATED:
            async with self._connection() as connection:
                return await installed_integrations(connection)

    async def quota_versions(self) -> list[QuotaVersion]:
        """Which tenants have quotas, and whether those have changed: nothing of what they are."""
        with _TRANSLATED:
            async with self._connection() as connection:
                return await quota_versions(connection)

    async def tenants_with_lost_agents(self) -> list[UUID]:
        """Tenants with an agent that is lost and of which that was not told; only the worker's role may."""
        with _TRANSLATED:
            async with self._connection() as connection:
                cursor = await connection.execute("SELECT tenants_with_lost_agents(%s)", (LIVES_FOR,))
                return [row[0] for row in await cursor.fetchall()]

    async def ensure_partitions(self, *, months_ahead: int = 2) -> int:
        """Create the partitions of the coming months; return how many were new. Only the worker's role may.

        Raises `Unavailable` when somebody holds the tables; the next time will do.
        """
        with _TRANSLATED:
            async with self._connection() as connection:
                try:
                    cursor = await connection.execute("SELECT ensure_partitions(%s)", (months_ahead,))
                except errors.LockNotAvailable:
                    raise Unavailable("the tables events and audit_log are in use") from None
                row = await cursor.fetchone()
                return int(row[0]) if row else 0

    async def ensure_space_index(self, space: str, dimensions: int) -> bool:
        """Create the index of a space that has none; whether it was. Only the worker's role may, before the space's first vector.

        Raises `Unavailable` when writers do not make way within 3 s.
        """
        with _TRANSLATED:
            async with self._connection() as connection:
                await connection.execute(_PATIENT, prepare=False)
                with connection.answering_within(_PATIENCE_S):
                    try:
                        cursor = await connection.execute(
                            "SELECT ensure_space_index(%s, %s)", (space, dimensions)
                        )
                        row = await cursor.fetchone()
                    finally:
                        await connection.execute("RESET statement_timeout")
                return bool(row and row[0])

    async def drop_months(self, table: str, before: datetime) -> list[str]:
        """Drop the months of `events` or `audit_log` that ended before; their partitions' names. Only the worker's role may.

        Raises `Unavailable` when somebody holds the table; the next time will do.
        """
        with _TRANSLATED:
            async with self._connection() as connection:
                try:
                    cursor = await connection.execute("SELECT drop_months(%s, %s)", (table, before))
                except errors.LockNotAvailable:
                    raise Unavailable(f"the table {table} is in use") from None
                return [row[0] for row in await cursor.fetchall()]

    async def tenant_ids(self) -> list[UUID]:
        """Every tenant, for upkeep; only the worker's role may."""
        with _TRANSLATED:
            async with self._connection() as connection:
                cursor = await connection.execute("SELECT tenant_id FROM tenants ORDER BY tenant_id")
                return [row[0] for row in await cursor.fetchall()]

    async def ping(self) -> None:
        """Return when the database answers; raises `Unavailable`."""
        with _TRANSLATED:
            async with self._connection() as connection:
                await connection.execute("SELECT 1")

    async def notices(self, channel: str, *, every_s: float) -> AsyncGenerator[None, None]:
        """Yield at once, at every NOTIFY on `channel`, and at least each `every_s` seconds; reconnects by itself."""
        while True:
            try:
                address = make_conninfo(self._url, **CONNECTING)
                async with await Connection.connect(address, autocommit=True) as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    while True:
                        # Also for what was notified before we listened.
                        yield None
                        async for _ in connection.notifies(timeout=every_s, stop_after=1):
                            pass
            except OperationalError:
                yield None
                await asyncio.sleep(min(every_s, 1.0))

    @asynccontextmanager
    async def _begun(self, *opening: Command, tenant_id: UUID | None = None) -> AsyncIterator[Connection]:
        """A connection in a transaction, which begins with its first statement."""
        with _TRANSLATED:
            async with self._connection(tenant_id) as connection:
                connection.let_precede(*opening)
                try:
                    yield connection
                    if not connection.waits_to_begin:
                        await connection.execute("COMMIT", prepare=False)
                except BaseException:
                    await _roll_back(connection)
                    raise

    @asynccontextmanager
    async def _connection(self, tenant_id: UUID | None = None) -> AsyncIterator[Connection]:
        """A connection that lives, as far as it can be known without asking."""
        connection, caller = await self._lent(tenant_id)
        try:
            yield connection
        except NoAnswer:
            # Those that wait in the pool are likely as dead, and each would be found out as slowly.
            await self._pool.drain()
            raise
        finally:
            await self._put_back(connection, caller, tenant_id)

    async def _lent(self, tenant_id: UUID | None) -> tuple[Connection, UUID | None]:
        """One that lives, within the share of whom it is for; and who that is, where it answers somebody."""
        caller = None if tenant_id is None else await self._shares.take(tenant_id)
        try:
            return await self._living(), caller
        except BaseException:
            self._give(caller, tenant_id)
            raise

    async def _put_back(
        self, connection: Connection, caller: UUID | None = None, tenant_id: UUID | None = None
    ) -> None:
        self._give(caller, tenant_id)
        connection.let_precede()
        if not self._pool.keep(connection):
            await self._pool.putconn(connection)

    def _give(self, caller: UUID | None, tenant_id: UUID | None) -> None:
        if caller is not None and tenant_id is not None:
            self._shares.give(caller, tenant_id)

    async def _living(self) -> Connection:
        """One that is quiet, or that answers: where the server or the network has ended it, that has been told, and another is taken."""
        for left in range(self._pool.max_size, -1, -1):
            connection = self._pool.take() or await self._pool.getconn(_CHECKOUT_S)
            if connection.is_quiet():
                return connection
            try:
                await connection.execute(_ALIVE, prepare=False)
            except BaseException as error:
                await self._pool.putconn(connection)
                if left and isinstance(error, OperationalError | InterfaceError) and connection.broken:
                    continue
                raise
            return connection
        raise AssertionError("the last turn returns or raises")


@asynccontextmanager
async def open_database(
    url: str, *, pool_size: int, application: str, answer_s: float = ANSWER_S
) -> AsyncIterator[Database]:
    """Open a pool. It does not wait for the database: a service starts without it and says so in its readiness.

    A server that says nothing for `answer_s` counts as gone.
    """

    async def configure(connection: Connection) -> None:
        connection.answer_s = answer_s
        set_json_loads(loads, connection)

    pool = Pool(
        url,
        connection_class=Connection,
        configure=configure,
        min_size=min(2, pool_size),
        max_size=pool_size,
        kwargs={
            "autocommit": True,
            "options": _SESSION,
            "application_name": application,
            **CONNECTING,
        },
        max_lifetime=1800,
        # The pool pauses ever longer between attempts and, after this time, waits to be asked: then the next caller tries at once.
        reconnect_timeout=1.0,
        open=False,
        name=application,
    )
    await pool.open(wait=False)
    try:
        yield Database(pool, url)
    finally:
        await pool.close(timeout=5)


@lru_cache(maxsize=10_000)
def _tenant(tenant_id: UUID) -> Command:
    return b"SELECT set_config('app.tenant', $1, true)", (str(tenant_id).encode(),)


async def _roll_back(connection: Connection) -> None:
    connection.drop_deferred()
    if connection.waits_to_begin:
        return
    try:
        await connection.execute("ROLLBACK", prepare=False)
    except Error:
        await connection.close()


class _Translated:
    """A block whose errors of the driver leave it as ours."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if isinstance(error, errors.QueryCanceled):
            raise DeadlineExceeded("the database took longer than 5 s for one statement") from None
        if isinstance(error, _UNREACHABLE):
            raise Unavailable(
                f"the database cannot be reached ({type(error).__name__})", retry_after_s=2
            ) from error


_TRANSLATED = _Translated()

"""A connection that says in one write what belongs together, and notices when the server has gone without a word."""

import asyncio
import select
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from time import monotonic
from typing import Any, Generic, TypeAlias, TypeVar, cast

from psycopg import AsyncConnection, AsyncCursor, AsyncPipeline, OperationalError, errors, rows
from psycopg.abc import Params, PQGen, Query
from psycopg.generators import send
from psycopg.pq import ConnStatus, Format
from psycopg.rows import Row, TupleRow
from psycopg.waiting import Ready, Wait

from devops_mcp.repositories.arrivals import Arrivals

RV = TypeVar("RV")
T = TypeVar("T")
Command: TypeAlias = tuple[bytes, Sequence[bytes] | None]
"""A statement whose answer nobody reads, with its parameters."""

ANSWER_S = 8.0
"""Longer than the server takes to cancel a statement that lasts too long, so that a server that works is left to do it."""
CONNECTING: Mapping[str, int] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A machine that is gone closes no connection: as it is set up, the system asks after two hours whether it is there."""
LARGE = 2**20
"""Bytes of one value from which on a connection is not kept after it."""
_INTERVAL_S = 0.1
_KEPT_CURSORS = 16


class NoAnswer(OperationalError):
    """The server may be gone, or hang; whether it did what it was told is unknown."""


class Connection(AsyncConnection[TupleRow]):
    """Given up, as broken, when the server says nothing for `answer_s`: a statement's own time limit is the server's to keep.

    What is to precede a statement goes out with it, in one write, and is answered with it: see `let_precede` and `defer`.
    """

    answer_s = ANSWER_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = Cursor
        self._preceding: Sequence[Command] = ()
        self._each = False
        self._once: Sequence[Command] = ()
        self._deferred: Sequence[tuple[Query, Params, AsyncCursor[TupleRow]]] = ()
        self._batch = _Batch(self)
        self._kept: dict[Any, Cursor[Any]] = {}
        self._arrivals: Arrivals | None = None
        self.prepared: dict[bytes, bytes] = {}
        """The names of the commands that the server has prepared."""
        self._named = 0

    def cursor(self, *args: Any, row_factory: Any = None, **options: Any) -> AsyncCursor[Any]:  # type: ignore[override]
        """As psycopg's. Without options, one that was closed serves again whoever names the same `row_factory`.

        It has looked up already how the types that it met are read and written.
        """
        kept = None if args or options else self._kept.pop(row_factory, None)
        if kept is None:
            return cast("AsyncCursor[Any]", super().cursor(*args, row_factory=row_factory, **options))
        self._check_connection_ok()
        kept.reopen()
        return kept

    def keep(self, cursor: "Cursor[Any]") -> None:
        """Take a closed cursor back, if it is one that can be asked for."""
        if cursor.format != Format.TEXT or _made_for_one(cursor.row_factory):
            return
        if len(self._kept) >= _KEPT_CURSORS:
            del self._kept[next(iter(self._kept))]
        self._kept[cursor.row_factory] = cursor

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Be that patient within the block."""
        before, self.answer_s = self.answer_s, seconds
        try:
            yield
        finally:
            self.answer_s = before

    def let_precede(self, *commands: Command, each: bool = False) -> None:
        """From here on the commands precede the next statement, or `each`.

        Unless they begin a transaction, they and the statement are one by themselves, which is committed when the statement is answered.
        What was deferred is forgotten.
        """
        self._preceding, self._each, self._once, self._deferred = commands, each, (), ()

    def let_also_precede(self, *commands: Command) -> None:
        """The commands come between what precedes the next statement anyway and that: what they set for a transaction holds for it."""
        self._once = commands

    def defer(self, query: Query, params: Params) -> None:
        """Leave a statement, whose answer nobody reads, to go out with the next, which raises its error; COMMIT is one too."""
        self._deferred = (*self._deferred, (query, params, self._unread))

    def ask(
        self, query: Query, params: Params, read: Callable[[Sequence[Any]], T], *, row_factory: Any = None
    ) -> "Asked[T]":
        """Likewise, but what `read` makes of the rows can be awaited; the statement goes out then, if it has not before."""
        cursor = self.cursor(row_factory=row_factory)
        self._deferred = (*self._deferred, (query, params, cursor))
        return Asked(self, cursor, read)

    @property
    def defers(self) -> bool:
        """Whether there is what was deferred and has not gone out."""
        return bool(self._deferred)

    def drop_deferred(self) -> None:
        """Forget what was deferred, as it would be undone."""
        self._deferred = ()

    @property
    def waits_to_begin(self) -> bool:
        """Whether nothing was said since there is what precedes the next statement, and nothing is to be."""
        return bool(self._preceding) and not self._deferred

    @property
    def holds_back(self) -> bool:
        """Whether there is what goes out with the next statement."""
        return bool(self._preceding or self._once or self._deferred)

    async def begin(self) -> None:
        """Send what waits for a statement without one."""
        if self.holds_back:
            async with self.lock:
                await self.wait(self.batched(_nothing()))

    def carries(self, size: int) -> None:
        """Say that so many bytes go through at once.

        The driver's buffers grow to what they have to hold, a power of two, and stay so while the connection lives: twelve that
        had each written a large webhook held 400 MB. So after such a value the pool takes another connection for this.
        """
        if size > LARGE:
            self._expire_at = 0.0

    def _take_preceding(self) -> Sequence[Command]:
        preceding = (*self._preceding, *self._once)
        self._once = ()
        if not self._each:
            self._preceding = ()
        return preceding

    def batched(self, statement: PQGen[None]) -> PQGen[None]:
        """What precedes the statement and that in one write; its answer is there at the end. Raises what the first that failed does.

        A statement that is not sent, as nothing can be made of its parameters, leaves the others to precede the next.
        """
        commands, deferred = self._take_preceding(), self._deferred
        batch = self._pipeline = self._batch
        self.pgconn.enter_pipeline_mode()
        unsent, named = True, self._prepared._prepared_idx
        try:
            batch.add(commands)
            for query, params, cursor in deferred:
                yield from AsyncCursor._execute_gen(cursor, query, params)
            yield from statement
            unsent, self._deferred = False, ()
            yield from batch.exchanged()
        except BaseException:
            batch.forget()
            if self._prepared._prepared_idx != named:
                # psycopg takes the statement for prepared since it was queued; now the next has the server forget all.
                self._prepared.clear()
            if unsent:
                self._preceding = commands
            raise
        finally:
            self._pipeline = None
            if self.pgconn.status != ConnStatus.BAD:
                self._leave_pipeline_mode()

    @cached_property
    def _unread(self) -> AsyncCursor[TupleRow]:
        return AsyncCursor(self)

    def new_name(self) -> bytes:
        """For a prepared command; never the same again, as nobody knows what is left of one that was given up."""
        self._named += 1
        return b"_command_%d" % self._named

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        if name is None:
            self.prepared.clear()
        return super()._deallocate(name)

    def _leave_pipeline_mode(self) -> None:
        try:
            self.pgconn.exit_pipeline_mode()
        except OperationalError:
            # Given up before all was answered: what comes would be taken for the answer to what is asked next.
            self.pgconn.finish()

    def is_quiet(self) -> bool:
        """Whether the server has said nothing that nobody asked for, as it does, or the network, when it ends the connection."""
        if self.pgconn.status != ConnStatus.OK or not hasattr(select, "poll"):
            return False
        return not self._asked.poll(0)

    async def close(self) -> None:
        await super().close()
        self._hear_no_more()

    @cached_property
    def _asked(self) -> "select.poll":
        asked = select.poll()
        asked.register(self.pgconn.socket, select.POLLIN)
        return asked

    async def wait(self, gen: PQGen[RV], interval: float = _INTERVAL_S, timeout: float | None = None) -> RV:
        """As psycopg's own, which every exchange with the server goes through. Raises `NoAnswer` after `answer_s`."""
        try:
            if timeout is not None:
                return await super().wait(gen, interval, timeout)
            return await self._answered(gen, monotonic() + self.answer_s * (1 + len(self._deferred)))
        except errors._WaitTimeout:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise NoAnswer(f"no answer within {self.answer_s:g} s") from None
        finally:
            if self.pgconn.status == ConnStatus.BAD:
                self._hear_no_more()

    def _hear_no_more(self) -> None:
        if self._arrivals is not None:
            self._arrivals.close()
            self._arrivals = None

    async def _answered(self, gen: PQGen[RV], until: float) -> RV:
        """What is usual, a request that leaves at once and an answer that is waited for; psycopg goes on with the rest."""
        arrivals = self._arrivals = self._arrivals or Arrivals(self.pgconn.socket)
        try:
            left: Wait | BaseException = next(gen)
            while left == Wait.R:
                if not await arrivals.next(until - monotonic()):
                    raise errors._WaitTimeout
                left = gen.send(Ready.R)
        except StopIteration as done:
            return cast("RV", done.value)
        except (asyncio.CancelledError, KeyboardInterrupt) as interruption:
            # psycopg tells the server, too, and raises it again.
            left = interruption
        return await super().wait(_Resumed(gen, left), _INTERVAL_S, self.answer_s)


class Asked(Generic[T]):
    """An answer that comes with the next statement's, or when it is awaited; once."""

    def __init__(
        self,
        connection: Connection,
        cursor: AsyncCursor[Any],
        read: Callable[[Sequence[Any]], T],
    ) -> None:
        self._connection = connection
        self._cursor = cursor
        self._read = read

    def __await__(self) -> Generator[Any, Any, T]:
        return self._answer().__await__()

    async def _answer(self) -> T:
        async with self._cursor as cursor:
            if cursor.pgresult is None:
                await self._connection.begin()
            return self._read(await cursor.fetchall())


def _made_for_one(row_factory: Any) -> bool:
    """As psycopg's `class_row(X)` is, another each time."""
    return row_factory.__module__ == rows.__name__ and row_factory.__closure__ is not None


class _Resumed(Generator[Any, Any, RV]):
    """What is left of an exchange that waits already, or whose waiting was interrupted."""

    def __init__(self, gen: PQGen[RV], left: Wait | BaseException) -> None:
        self._gen = gen
        self._left: Wait | BaseException | None = left

    def send(self, ready: Any) -> Any:
        left, self._left = self._left, None
        if isinstance(left, BaseException):
            raise left
        return self._gen.send(ready) if left is None else left

    def throw(self, *error: Any) -> Any:
        return self._gen.throw(*error)


class Cursor(AsyncCursor[Row]):
    """Sends what precedes a statement with it."""

    _conn: Connection

    async def close(self) -> None:
        if self._closed:
            return
        self._close()
        if self._last_query is not None:
            # What was sent and what came may be large.
            self._query = None
            self._tx.set_pgresult(None)
            self._conn.keep(self)

    def reopen(self) -> None:
        """Serve again, for who has taken it from where it was kept."""
        self._closed = False

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        statement = super()._execute_gen(query, params, prepare=prepare, binary=binary)
        return self._conn.batched(statement) if self._conn.holds_back else statement

    async def executemany(
        self, query: Query, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        await self._conn.begin()
        await super().executemany(query, params_seq, returning=returning)


class _Batch(AsyncPipeline):
    """A pipeline that leaves in one write; psycopg's own makes one for each statement."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._of = connection
        self._unsure: list[bytes] = []

    def add(self, commands: Sequence[Command]) -> None:
        self._unsure = [query for query, _ in commands if query not in self._of.prepared]
        for query, params in commands:
            if params is None:
                self.command_queue.append(partial(self.pgconn.send_query_params, query, None))
            else:
                name = self._of.prepared.get(query) or self._prepare(query)
                self.command_queue.append(partial(self.pgconn.send_query_prepared, name, params))
            self.result_queue.append(None)

    def _prepare(self, query: bytes) -> bytes:
        name = self._of.prepared[query] = self._of.new_name()
        self.command_queue.append(partial(self.pgconn.send_prepare, name, query))
        self.result_queue.append(None)
        return name

    def forget(self) -> None:
        """What is left of an exchange that failed, and what it prepared: nobody knows how far it came."""
        self.command_queue.clear()
        self.result_queue.clear()
        for query in self._unsure:
            self._of.prepared.pop(query, None)

    def exchanged(self) -> PQGen[None]:
        """Everything sent, and answered."""
        self._enqueue_sync()
        while self.command_queue:
            self.command_queue.popleft()()
        yield from send(self.pgconn)
        yield from self._fetch_gen(flush=False)

    def _communicate_gen(self) -> PQGen[None]:
        return _nothing()


def _nothing() -> Generator[Any, Any, None]:
    return
    yield

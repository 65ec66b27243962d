"""A connection that notices when the server has gone without a word."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from psycopg import AsyncConnection, OperationalError, errors
from psycopg.abc import PQGen
from psycopg.rows import TupleRow

RV = TypeVar("RV")

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
_INTERVAL_S = 0.1


class NoAnswer(OperationalError):
    """The server may be gone, or hang; whether it did what it was told is unknown."""


class Connection(AsyncConnection[TupleRow]):
    """Given up, as broken, when the server says nothing for `answer_s`: a statement's own time limit is the server's to keep."""

    answer_s = ANSWER_S

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Be that patient within the block."""
        before, self.answer_s = self.answer_s, seconds
        try:
            yield
        finally:
            self.answer_s = before

    async def wait(self, gen: PQGen[RV], interval: float = _INTERVAL_S, timeout: float | None = None) -> RV:
        """As psycopg's own, which every exchange with the server goes through. Raises `NoAnswer` after `answer_s`."""
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.answer_s)
        except errors._WaitTimeout:
            self.pgconn.finish()
            raise NoAnswer(f"no answer within {self.answer_s:g} s") from None

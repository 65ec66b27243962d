"""Hearing that something has come for a connection."""

import asyncio
import os

from psycopg import OperationalError


class Arrivals:
    """Registered with the loop once, where psycopg registers and withdraws for each answer: seven calls of the system.

    It listens on a descriptor of its own: a connection that psycopg closes by itself leaves its number to another, whose arrivals would be
    heard here. Raises `OperationalError` where the process may not open another.
    """

    def __init__(self, socket: int) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self._descriptor = os.dup(socket)
        except OSError as error:
            raise OperationalError(f"cannot listen to the connection: {error}") from error
        self._listening = False
        self._waiter: asyncio.Future[bool] | None = None

    async def next(self, within_s: float) -> bool:
        """Whether something came in time; also where it was taken up already."""
        self._listen()
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        timer = self._loop.call_later(within_s, self._settle, False)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        """Hear nothing more."""
        if self._descriptor >= 0:
            self._withdraw()
            os.close(self._descriptor)
            self._descriptor = -1

    def _listen(self) -> None:
        if not self._listening:
            self._loop.add_reader(self._descriptor, self._heard)
            self._listening = True

    def _withdraw(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._descriptor)
            self._listening = False

    def _heard(self) -> None:
        if self._waiter is None:
            # Nobody takes it up, so it would be heard again at once.
            self._withdraw()
        else:
            self._settle(True)

    def _settle(self, came: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(came)

"""What `devops-mcp stdio` waits for in threads of its own: standard input and output, one message a line, and other files.

The program's end waits for none of the threads here; for a login that is being refreshed `stdio` does.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_CHUNK = 65_536


async def apart(function: Callable[[], T]) -> T:
    """What a function returns, or raises, that blocks."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        settle: Callable[[], None]
        try:
            settle = partial(outcome.set_result, function())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits
            settle = partial(outcome.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_if_awaited, outcome, settle)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await outcome


class Lines:
    """The lines that a file descriptor gives, without their ends and without empty ones. One that cannot be read has ended.

    Not through `sys.stdin`, whose lock would hold up our end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._read: asyncio.Queue[list[bytes]] = asyncio.Queue(maxsize=4)
        self._next: deque[bytes] = deque()
        self.over = False
        """Whether the end was seen, though lines before it may not have been taken yet."""
        threading.Thread(target=self._read_on, name="standard input", daemon=True).start()

    async def take(self) -> bytes | None:
        """The next line, None at the end. It is not lost when nobody waits for it any more."""
        while not self.have_ended():
            if self._next:
                return self._next.popleft()
            self._next.extend(await self._read.get())
        return None

    def put_back(self, line: bytes) -> None:
        self._next.appendleft(line)

    def have_ended(self) -> bool:
        """Whether all was taken, and nothing comes. Where nothing is at hand, moves on to what was read next."""
        while not self._next and not self._read.empty():
            self._next.extend(self._read.get_nowait())
        return self.over and not self._next

    def _read_on(self) -> None:
        rest = b""
        with suppress(RuntimeError, asyncio.CancelledError):  # the loop has ended before the input did
            while chunk := _read_some(self._descriptor):
                *lines, rest = (rest + chunk).split(b"\n")
                self._hand_over(lines)
            self._hand_over([rest], over=True)

    def _hand_over(self, lines: list[bytes], *, over: bool = False) -> None:
        async def put() -> None:
            await self._read.put([line for line in lines if line.strip()])
            self.over = over

        asyncio.run_coroutine_threadsafe(put(), self._loop).result()


class Output:
    """Writes to a file descriptor. What it has been given is written whole and in its order, whoever stops waiting for that."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._given: SimpleQueue[tuple[bytes, asyncio.Future[None]]] = SimpleQueue()
        threading.Thread(target=self._write_on, name="standard output", daemon=True).start()

    async def write(self, message: bytes) -> None:
        """Return when the message is written. Raises `OSError`: `BrokenPipeError` where nobody reads any more."""
        await self._put(message.replace(b"\n", b" ") + b"\n")

    async def drain(self) -> None:
        """Return when everything is written, or cannot be."""
        with suppress(OSError):
            await self._put(b"")

    async def _put(self, data: bytes) -> None:
        written: asyncio.Future[None] = self._loop.create_future()
        self._given.put((data, written))
        await written

    def _write_on(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            while True:
                data, written = self._given.get()
                settle = partial(written.set_result, None)
                try:
                    _write_all(self._descriptor, data)
                except OSError as error:
                    settle = partial(written.set_exception, error)
                self._loop.call_soon_threadsafe(_if_awaited, written, settle)


def _read_some(descriptor: int) -> bytes:
    """What there is; nothing at the end. A socket in the place of a pipe, as some clients give, may be reset instead."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError:
        return b""


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _if_awaited(outcome: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not outcome.done():
        settle()

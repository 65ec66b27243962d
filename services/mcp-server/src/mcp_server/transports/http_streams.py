"""Messages on their way to a client over HTTP: streams that readers come to and leave, and server-sent events."""

import asyncio
import base64
import binascii
import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import orjson
from starlette.types import Receive, Send

from devops_mcp.cache.message_log import Position

STANDALONE = "-"
"""The stream that no request began."""
PING_S = 15.0
RETRY_MS = 500
WAITING = 256
WAITING_BYTES = 8 * 1_048_576
_LONGEST_NAME = 128


class Outgoing(NamedTuple):
    """A message as it goes over the wire; `final` ends the stream of its request."""

    position: Position
    body: bytes
    final: bool


class Stream:
    """What one request, or the session itself, has to say. Without a reader it waits, the latest `limit` messages and `max_bytes` of it.

    The latest waits however large it is.
    """

    def __init__(self, name: str, limit: int = WAITING, max_bytes: int = WAITING_BYTES) -> None:
        self.name = name
        self.overflowed = False
        self.is_kept = False
        """Whether what it says is kept for who comes again."""
        self.waiting: deque[Outgoing] = deque()
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._reader: Reader | None = None
        self._ended = False

    @property
    def is_read(self) -> bool:
        return self._reader is not None

    def put(self, message: Outgoing) -> None:
        self.waiting.append(message)
        self._bytes += len(message.body)
        while len(self.waiting) > self._limit or (self._bytes > self._max_bytes and len(self.waiting) > 1):
            self.overflowed = True
            self._take()
        self._wake()

    def end(self) -> None:
        """Nothing more comes; what waits is still given."""
        self._ended = True
        self._wake()

    def release(self) -> None:
        """Send the reader away; another may come for what follows."""
        if self._reader is not None:
            self._reader.close()

    @contextmanager
    def read(self) -> Iterator["Reader"]:
        """Be the reader within this block. A reader that was there before is sent away: its client came again."""
        self.release()
        reader = self._reader = Reader(self)
        try:
            yield reader
        finally:
            if self._reader is reader:
                self._reader = None

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.changed.set()

    def _take(self) -> Outgoing | None:
        if not self.waiting:
            return None
        message = self.waiting.popleft()
        self._bytes -= len(message.body)
        return message


class Reader:
    """One client's turn at a stream."""

    def __init__(self, stream: Stream) -> None:
        self.changed = asyncio.Event()
        self.closed = False
        self._stream = stream

    def close(self) -> None:
        self.closed = True
        self.changed.set()

    async def next(self) -> Outgoing | None:
        """The next message; None when the stream has ended or the reader was sent away."""
        while not self.closed:
            if (message := self._stream._take()) is not None:
                return message
            if self._stream._ended:
                return None
            self.changed.clear()
            await self.changed.wait()
        return None

    async def next_within(self, seconds: float) -> Outgoing | None:
        """As `next`; raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            return await self.next()


class EventStream:
    """An answer of server-sent events."""

    def __init__(self, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._receive = receive
        self._send = send
        self._headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            *headers,
        ]

    async def begin(self) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await self._write(b"")

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def prime(self, event_id: str) -> None:
        """An event that only says where the stream begins, and how soon to come again: https://modelcontextprotocol.io SEP-1699."""
        await self._write(b"id: %b\nretry: %d\ndata: \n\n" % (event_id.encode(), RETRY_MS))

    async def event(self, name: str, data: bytes, event_id: str | None = None) -> None:
        mark = b"id: %b\n" % event_id.encode() if event_id else b""
        await self._write(b"event: %b\n%bdata: %b\n\n" % (name.encode(), mark, data))

    async def message(self, message: Outgoing, stream: str | None) -> None:
        """A message; with the id of its event, where `stream` says that it can be asked for again."""
        await self.event("message", message.body, event_id(message.position, stream) if stream else None)

    async def pump(self, reader: Reader, *, stream: str | None, after: Position | None = None) -> None:
        """Pass on what the reader gets, behind `after`, until the final message, its end, or the client's going."""
        gone = asyncio.create_task(self._close_when_gone(reader), name="sse client")
        try:
            while True:
                try:
                    message = await reader.next_within(PING_S)
                except TimeoutError:
                    await self._write(b": ping\n\n")
                    continue
                if message is None:
                    return
                if after is None or message.position > after:
                    await self.message(message, stream)
                if message.final:
                    return
        finally:
            gone.cancel()

    async def _close_when_gone(self, reader: Reader) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        reader.close()

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


def name_of(request_id: str | int) -> str:
    """The name of a request's stream, fit for a header; the id can be read from it, unless it is very long."""
    name = base64.urlsafe_b64encode(orjson.dumps(request_id)).rstrip(b"=").decode()
    return name if len(name) <= _LONGEST_NAME else "." + hashlib.sha256(name.encode()).hexdigest()


def request_of(stream: str) -> str | int | None:
    """The request whose stream has that name; None for the standalone stream, and where the name does not say."""
    try:
        value = orjson.loads(
            base64.b64decode(stream + "=" * (-len(stream) % 4), altchars=b"-_", validate=True)
        )
    except (ValueError, binascii.Error):
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def event_id(position: Position, stream: str) -> str:
    return f"{position}~{stream}"


def read_event_id(text: str) -> tuple[Position, str] | None:
    """What `event_id` wrote; None for anything else."""
    place, mark, stream = text.partition("~")
    ms, dash, number = place.partition("-")
    if not (mark and dash and stream and _is_number(ms) and _is_number(number)):
        return None
    return Position(int(ms), int(number)), stream


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18

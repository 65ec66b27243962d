"""The last messages of each session, so that a reader who was cut off is given what it missed, by whichever replica.

Written behind the reader's back: what is told to it does not wait for Redis. Without Redis nothing is kept, and nothing waits.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, cast
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from devops_mcp.cache.sealing import Seal
from devops_mcp.models.errors import Unavailable

log = structlog.get_logger()

_PREFIX = "devops-mcp:messages:"
_BATCH = 128
_ENTRY_BYTES = 128
"""What an entry takes besides its body."""
_Entries: TypeAlias = list[tuple[bytes, dict[bytes, bytes]]]
_PAUSE_S = 1.0


class Position(NamedTuple):
    """Where a message stands among those of its session; the id of its entry in Redis."""

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Of one session: how many messages are kept, how large each and all of them, and for how long. Of one principal's sessions in a
    process: how many bytes. Of the process: how many bytes may wait to be written.
    """

    messages: int = 512
    message_bytes: int = 1_048_576
    session_bytes: int = 8 * 1_048_576
    owner_bytes: int = 64 * 1_048_576
    lifetime_s: int = 1_800
    waiting_bytes: int = 32 * 1_048_576


class _Entry(NamedTuple):
    """A message; `oldest` is what its session keeps from then on."""

    key: str
    position: Position
    stream: str
    body: bytes
    oldest: Position


class _Dropped(NamedTuple):
    """A session of which nothing is kept any longer, until it says more."""

    key: str
    body: bytes = b""


@dataclass(slots=True)
class _Kept:
    """What is kept of a session, as far as it was said in this process."""

    owner: UUID
    messages: deque[tuple[Position, int]] = field(default_factory=deque)
    size: int = 0

    def drop_first(self) -> int:
        """The bytes that this takes off."""
        _, size = self.messages.popleft()
        self.size -= size
        return size


class _Shelves:
    """What is kept of each session, and of all of a principal's together, of which the one that said nothing for longest goes first."""

    def __init__(self, limits: LogLimits) -> None:
        self._limits = limits
        self._sessions: dict[str, _Kept] = {}
        self._owners: dict[UUID, OrderedDict[str, _Kept]] = {}
        self._sizes: dict[UUID, int] = {}

    def put(self, key: str, owner: UUID, position: Position, size: int) -> tuple[Position, list[str]]:
        """Add a message; the oldest that its session keeps from then on, and the sessions of which nothing is kept any longer."""
        kept = self._sessions.setdefault(key, _Kept(owner))
        own = self._owners.setdefault(owner, OrderedDict())
        own[key] = kept
        own.move_to_end(key)
        kept.messages.append((position, size))
        kept.size += size
        added = size
        while len(kept.messages) > self._limits.messages or kept.size > self._limits.session_bytes:
            added -= kept.drop_first()
        self._sizes[owner] = self._sizes.get(owner, 0) + added
        gone: list[str] = []
        while self._sizes[owner] > self._limits.owner_bytes and len(own) > 1:
            gone.append(next(iter(own)))
            self.clear(gone[-1])
        return kept.messages[0][0], gone

    def clear(self, key: str) -> None:
        """Nothing is kept of the session, or somebody else keeps it."""
        kept = self._sessions.pop(key, None)
        if kept is None:
            return
        del self._owners[kept.owner][key]
        self._sizes[kept.owner] -= kept.size
        if not self._owners[kept.owner]:
            del self._owners[kept.owner], self._sizes[kept.owner]


class MessageLog:
    """Messages of all sessions of this process, by stream. `running` writes them."""

    def __init__(self, redis: Redis, seal: Seal, limits: LogLimits | None = None) -> None:
        self.limits = limits or LogLimits()
        self._redis = redis
        self._seal = seal
        self._shelves = _Shelves(self.limits)
        self._waiting: deque[_Entry | _Dropped] = deque()
        self._waiting_bytes = 0
        self._paused_until = 0.0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write within this block; at its end what waits is written."""
        task = asyncio.create_task(self._write(), name="message log")
        try:
            yield
        finally:
            await self.written()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def append(self, session_id: str, owner: UUID, position: Position, stream: str, body: bytes) -> None:
        """Keep a message of a session of the owner's, unless it is too large, too much waits already, or Redis is away."""
        too_much = self._waiting_bytes + len(body) > self.limits.waiting_bytes
        if too_much or len(body) > self.limits.message_bytes or time.monotonic() < self._paused_until:
            return
        key = _PREFIX + session_id
        oldest, gone = self._shelves.put(key, owner, position, len(body) + _ENTRY_BYTES)
        self._waiting.extend(map(_Dropped, gone))
        self._waiting.append(_Entry(key, position, stream, body, oldest))
        self._waiting_bytes += len(body)
        self._idle.clear()
        self._changed.set()

    async def after(self, session_id: str, position: Position, stream: str) -> list[tuple[Position, bytes]]:
        """The stream's messages behind `position`, oldest first, as far as they are kept. Raises `Unavailable` without Redis."""
        await self.written()
        key = _PREFIX + session_id
        try:
            entries = cast("_Entries", await self._redis.xrange(key, min=f"({position}"))
        except (RedisError, OSError) as error:
            raise _away(error) from None
        found = []
        for entry_id, fields in entries:
            if fields[b"s"] == stream.encode():
                place = f"{key}:{entry_id.decode()}:{stream}"
                if (body := self._seal.open(fields[b"m"], place)) is not None:
                    found.append((_position(entry_id), body))
        return found

    async def last(self, session_id: str) -> Position | None:
        """Where the session's last message stands. Raises `Unavailable` without Redis."""
        try:
            entries = cast("_Entries", await self._redis.xrevrange(_PREFIX + session_id, count=1))
        except (RedisError, OSError) as error:
            raise _away(error) from None
        return _position(entries[0][0]) if entries else None

    def leave(self, session_id: str) -> None:
        """The session says nothing more here; what it has said stays as long as it does."""
        self._shelves.clear(_PREFIX + session_id)

    async def forget(self, session_id: str) -> None:
        """The session has ended. Raises `Unavailable` without Redis."""
        self.leave(session_id)
        await self.written()
        try:
            await self._redis.delete(_PREFIX + session_id)
        except (RedisError, OSError) as error:
            raise _away(error) from None

    async def written(self, *, within_s: float = 1.0) -> None:
        """Return when nothing waits to be written, or after `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()

    async def _write(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                await self._write_batch(batch)
                self._waiting_bytes -= sum(len(entry.body) for entry in batch)
            self._idle.set()

    async def _write_batch(self, batch: list[_Entry | _Dropped]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for entry in batch:
                    if isinstance(entry, _Dropped):
                        pipeline.delete(entry.key)
                        continue
                    place = f"{entry.key}:{entry.position}:{entry.stream}"
                    fields = {"s": entry.stream, "m": self._seal.close(entry.body, place)}
                    pipeline.xadd(
                        entry.key,
                        fields,  # type: ignore[arg-type]
                        id=str(entry.position),
                        minid=str(entry.oldest),
                        approximate=False,
                    )
                for key in {entry.key for entry in batch}:
                    pipeline.expire(key, self.limits.lifetime_s)
                await pipeline.execute(raise_on_error=True)
        except (RedisError, OSError) as error:
            self._paused_until = time.monotonic() + _PAUSE_S
            log.warning("session messages not kept", error=type(error).__name__, count=len(batch))


class Positions:
    """Gives the messages of one session their positions, each behind the one before, on whatever replica that one was."""

    def __init__(self, after: Position | None = None, *, wall_ms: Callable[[], int] | None = None) -> None:
        self._wall_ms = wall_ms or _wall_ms
        self._last = after or Position(0, 0)

    def next(self) -> Position:
        now = self._wall_ms()
        last = self._last
        self._last = Position(now, 0) if now > last.ms else Position(last.ms, last.number + 1)
        return self._last


def _position(entry_id: bytes) -> Position:
    ms, _, number = entry_id.decode().partition("-")
    return Position(int(ms), int(number))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _away(error: Exception) -> Unavailable:
    return Unavailable(f"redis cannot be reached ({type(error).__name__})", retry_after_s=1)

"""The journal: every change of the store as one line, appended before it is acknowledged.

A line is the CRC-32 of a record in eight hexadecimal digits, a space, and the record in JSON. A start reads the lines back; one that a
crash cut off at the end is dropped, damage before the end stops the start. Then, and whenever the file has grown to several times what
it describes, it is replaced by a shorter one that makes the same store.
"""

import asyncio
import fcntl
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import orjson
import structlog
from pydantic import ValidationError

from devops_mcp.embedded.sqs.records import RECORD, Record
from devops_mcp.models.errors import ConfigurationError, Unavailable

log = structlog.get_logger(__name__)

_COMPACT_BYTES = 64 * 1024 * 1024
_COMPACT_GROWTH = 4
_SYNC_PAUSE_S = 1.0


class Durability(StrEnum):
    """What an acknowledged change survives. All requests that wait at the same moment share one write to the disk."""

    MACHINE = "machine"
    """A power cut: the answer waits for fdatasync."""
    PROCESS = "process"
    """kill -9: the answer waits for the write; fdatasync follows within a second, as with Redis's `everysec`."""


class Journal:
    """Read it whole, then let `run` work for as long as anything is appended."""

    def __init__(self, folder: Path, durability: Durability, *, compact_bytes: int = _COMPACT_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "journal"
        self._durability = durability
        self._compact_bytes = compact_bytes
        self._lock = _lock(folder / "lock")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._descriptor).st_size
        self._compacted_size = self._size
        self._buffer: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._unsynced = False

    def read(self) -> Iterator[Record]:
        """The records so far. Raises `ConfigurationError` at a damaged one that is not the last."""
        good = 0
        with self._path.open("rb") as file:
            for line in file:
                record = decode(line)
                if record is None:
                    self._drop_tail(file, good)
                    return
                good += len(line)
                yield record

    def append(self, record: Record) -> None:
        """Keep a record for the next write."""
        self._buffer.append(encode(record))

    def write(self) -> None:
        """Hand what was appended to the operating system, for changes that are no loss: leases, after which a message comes again."""
        self._write()

    async def commit(self) -> None:
        """Return when all that was appended is as safe as the durability says. Raises `Unavailable` when it cannot be written."""
        if self._durability is Durability.PROCESS:
            self._write()
            return
        if self._buffer or self._unsynced:
            self._wanted.set()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    async def run(self, snapshot: Callable[[], Iterable[Record]]) -> None:
        """Write and sync until cancelled; compact with `snapshot` when the file has grown enough."""
        while True:
            if self._durability is Durability.MACHINE:
                await self._wanted.wait()
                await self._commit_group()
            else:
                await asyncio.sleep(_SYNC_PAUSE_S)
                await self._sync_late()
            if self._size > max(self._compact_bytes, _COMPACT_GROWTH * self._compacted_size):
                self._try_compact(snapshot)

    def compact(self, records: Iterable[Record]) -> None:
        """Replace the file by one that holds just these records. A crash leaves the old file or the new one."""
        fresh = self._path.with_name("journal.new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            size = sum(_write_all(descriptor, encode(record)) for record in records)
            os.fsync(descriptor)
            fresh.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        _sync_folder(self._path.parent)
        os.close(self._descriptor)
        self._descriptor, self._size, self._compacted_size = descriptor, size, size
        # The snapshot holds what was still in the buffer.
        self._buffer.clear()

    def close(self) -> None:
        self._write()
        _sync_data(self._descriptor)
        os.close(self._descriptor)
        self._lock.close()

    async def _commit_group(self) -> None:
        self._wanted.clear()
        waiting, self._waiting = self._waiting, []
        try:
            self._write()
            await self._sync()
        except (OSError, Unavailable) as error:
            _finish(waiting, error)
        else:
            _finish(waiting, None)

    async def _sync(self) -> None:
        if not self._unsynced:
            return
        self._unsynced = False
        try:
            await asyncio.to_thread(_sync_data, self._descriptor)
        except OSError:
            self._unsynced = True
            raise

    async def _sync_late(self) -> None:
        try:
            await self._sync()
        except OSError as error:
            log.error("journal sync failed", path=str(self._path), problem=error.strerror)

    def _try_compact(self, snapshot: Callable[[], Iterable[Record]]) -> None:
        try:
            self.compact(snapshot())
        except OSError as error:
            log.error("journal compaction failed", path=str(self._path), problem=error.strerror)
            # The old file goes on; try again when it has grown as much once more.
            self._compacted_size = self._size

    def _write(self) -> None:
        if not self._buffer:
            return
        data = b"".join(self._buffer)
        try:
            _write_all(self._descriptor, data)
        except OSError as error:
            # Half a line must not stay before the next one; the buffer is kept and tried again with the next commit.
            os.ftruncate(self._descriptor, self._size)
            raise Unavailable(f"the journal {self._path} cannot be written: {error.strerror}") from error
        self._buffer.clear()
        self._size += len(data)
        self._unsynced = True

    def _drop_tail(self, file: BinaryIO, good: int) -> None:
        if any(decode(line) is not None for line in file):
            raise ConfigurationError(
                f"{self._path} is damaged at byte {good}, before its end; restore it, or move it away to start empty"
            )
        log.warning("journal tail dropped", path=str(self._path), bytes=self._size - good)
        os.ftruncate(self._descriptor, good)
        self._size = good


def encode(record: Record) -> bytes:
    """A record as a line of the journal."""
    payload = orjson.dumps(record)
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def decode(line: bytes) -> Record | None:
    """The record of a line; None for a line that was not written whole."""
    payload = line[9:-1]
    if not line.endswith(b"\n") or line[:8] != b"%08x" % zlib.crc32(payload):
        return None
    try:
        return RECORD.validate_json(payload)
    except ValidationError as error:
        raise ConfigurationError(
            f"the journal holds a record of another version: {error.errors()[0]['msg']}"
        ) from None


def _write_all(descriptor: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    return len(data)


def _finish(waiting: list[asyncio.Future[None]], error: Exception | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(Unavailable(f"the journal cannot be written: {error}"))


def _sync_data(descriptor: int) -> None:
    if sys.platform == "linux":
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> BinaryIO:
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(f"{path.parent} is in use by another queue server") from None
    return file

"""Lines of a log, written together."""

import asyncio
import atexit
import threading
from typing import BinaryIO

HELD_S = 0.01
"""So long a line may wait for others: where hundreds come in a second, a write for each is a tenth of what a request costs."""
_HELD_BYTES = 32_768


class Lines:
    """Writes lines to a stream. While an event loop runs, those that say that all is well wait a moment for others; no other line waits."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = bytearray()
        self._lock = threading.Lock()
        self._due_on: asyncio.AbstractEventLoop | None = None
        atexit.register(self.write)

    def info(self, line: bytes) -> None:
        self._hold(line)
        loop = _running_loop()
        if loop is None or len(self._held) > _HELD_BYTES:
            self.write()
        elif loop is not self._due_on:
            self._due_on = loop
            loop.call_later(HELD_S, self._write_when_due)

    def warning(self, line: bytes) -> None:
        self._hold(line)
        self.write()

    def write(self) -> None:
        """Write what waits."""
        with self._lock:
            if self._held:
                self._stream.write(self._held)
                self._stream.flush()
                self._held = bytearray()

    def _hold(self, line: bytes) -> None:
        with self._lock:
            self._held += line
            self._held += b"\n"

    def _write_when_due(self) -> None:
        self._due_on = None
        self.write()

    debug = info
    error = critical = warning


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

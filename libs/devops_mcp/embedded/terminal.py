"""What a person at the terminal sees of the services' logs: warnings and above, one line each; the files hold the rest."""

import json
import sys
from collections.abc import Callable

_LEVELS = ("debug", "info", "warning", "error", "critical")
_HIDDEN_KEYS = frozenset(
    {"event", "level", "timestamp", "service", "trace_id", "span_id", "exception", "logger"}
)
_LONGEST_LINE = 1_000_000


def say(text: str) -> None:
    """Write a line to the terminal. A closed terminal is no reason to stop."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        return


class TerminalLog:
    """Takes a service's output in pieces and passes on what a person should see, to `write`, a line at a time."""

    def __init__(self, service: str, write: Callable[[str], None] = say, *, level: str = "warning") -> None:
        self._service = service
        self._write = write
        self._shown = frozenset(_LEVELS[_LEVELS.index(level) :])
        self._partial = b""

    def __call__(self, chunk: bytes) -> None:
        *lines, rest = (self._partial + chunk).split(b"\n")
        self._partial = rest[-_LONGEST_LINE:]
        for line in lines:
            self._show(line.decode("utf-8", "replace"))

    def _show(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            # Not from the log: a traceback of the interpreter, or a refusal to start.
            if line.strip():
                self._write(f"{self._service:<10} {_printable(line)}")
        elif entry.get("level") in self._shown:
            self._write(f"{self._service:<10} {self._readable(entry)}")

    @staticmethod
    def _readable(entry: dict[str, object]) -> str:
        details = " ".join(
            f"{key}={_printable(value)}" for key, value in entry.items() if key not in _HIDDEN_KEYS
        )
        text = f"{entry.get('level')!s:<8} {_printable(entry.get('event', ''))}  {details}".rstrip()
        exception = entry.get("exception")
        return text if exception is None else f"{text}\n{exception}"


def _printable(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

"""Structured logs: one line an entry, bounded, without secrets, tied to the current trace.

Everything goes to one stream, standard error unless told otherwise: standard output belongs to MCP's stdio transport.
"""

import functools
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from devops_mcp.observability.lines import Lines
from devops_mcp.observability.tracing import here

MAX_TEXT = 2_000
MAX_EXCEPTION = 16_000
_MAX_ITEMS = 50
_MAX_DEPTH = 4
_MAX_KEY = 100
_MASK = "***"
_SECRET_KEY = re.compile(
    r"token|secret|password|passwd|authorization|cookie|credential|api[-_]?key|private[-_]?key", re.IGNORECASE
)
# C0, DEL and C1 controls, line separators, direction overrides and lone surrogates: what forges lines or moves a terminal's cursor.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_TRACEBACK = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Chatty or careless at INFO: `mcp` logs session ids, HTTP clients whole addresses, uvicorn the query string of a handshake.
_QUIETED = (
    "mcp",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "websockets",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "botocore",
    "aiobotocore",
)


def start_logging(
    service: str, level: str = "INFO", *, console: bool = False, stream: BinaryIO | None = None
) -> None:
    """Send the logs of structlog and of the standard library through the same processors, as JSON or readable on a terminal."""
    out = stream if stream is not None else sys.stderr.buffer
    threshold = logging.getLevelNamesMapping()[level]
    lines = Lines(out)
    structlog.configure(
        processors=_processors(service, console=console, colors=out.isatty()),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_IntoStructlog()]
    root.setLevel(threshold)
    for name in _QUIETED:
        quieted = logging.getLogger(name)
        quieted.handlers, quieted.propagate = [], True
        quieted.setLevel(max(threshold, logging.WARNING))


def _processors(service: str, *, console: bool, colors: bool) -> list[Processor]:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _Stamp(service),
        structlog.processors.format_exc_info,
        sanitize,
    ]
    if not console:
        return [*shared, _as_json]
    return [*shared, _Console(colors)]


_LEVELS = {"warn": "warning", "exception": "error"}


class _Stamp:
    """Says how grave an entry is, when and by what it was made, and in which trace; in one, as each processor is a call a line."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["level"] = _LEVELS.get(method, method)
        event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event["service"] = self._service
        return add_trace(logger, method, event)


def add_trace(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add `trace_id` and `span_id` of the current span, if there is one."""
    if (span := here()) is not None:
        event["trace_id"] = format(span.trace_id, "032x")
        event["span_id"] = format(span.span_id, "016x")
    return event


def sanitize(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Mask secrets by their key, escape what could forge a line or drive a terminal, and cut what is too long."""
    exception = event.pop("exception", None)
    clean = _masked(event, 0)
    if exception is not None:
        clean["exception"] = _UNSAFE_IN_TRACEBACK.sub(_escaped, _cut(str(exception), MAX_EXCEPTION))
    return clean


def _masked(items: Mapping[Any, object], depth: int) -> dict[str, object]:
    clean: dict[str, object] = {}
    for key, value in islice(items.items(), _MAX_ITEMS):
        name, secret = _named(str(key)[:_MAX_KEY])
        if secret and not isinstance(value, int | float | None):
            clean[name] = _MASK
        elif type(value) is str and len(value) <= MAX_TEXT and value.isprintable():
            clean[name] = value  # as nearly all are
        else:
            clean[name] = _value(value, depth)
    return clean


@functools.lru_cache(maxsize=1_024)
def _named(key: str) -> tuple[str, bool]:
    """The key as it may be written, and whether its value is a secret."""
    return _text(key, _MAX_KEY), _SECRET_KEY.search(key) is not None


def _value(value: object, depth: int) -> object:
    if isinstance(value, str):
        return _text(value, MAX_TEXT)
    if value is None or value is True or value is False or isinstance(value, float):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else _digits(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return _masked(value, depth + 1)
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_value(item, depth + 1) for item in islice(value, _MAX_ITEMS)]
    return _text(str(value), MAX_TEXT)


def _digits(value: int) -> str:
    # Python refuses to print integers of more than 4,300 digits.
    return str(value) if value.bit_length() < 4_096 else f"<integer of {value.bit_length()} bits>"


def _text(value: str, limit: int) -> str:
    if len(value) <= limit and value.isprintable():
        return value
    value = _cut(value, limit)
    return value if value.isprintable() else _UNSAFE.sub(_escaped, value)


def _cut(value: str, limit: int) -> str:
    return value if len(value) <= limit else f"{value[:limit]}…[{len(value) - limit} characters cut]"


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    return orjson.dumps(event)


class _Console:
    """Lines for a person at a terminal."""

    def __init__(self, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, exception_formatter=structlog.dev.plain_traceback
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        return self._render(logger, method, event).encode("utf-8", "backslashreplace")


class _IntoStructlog(logging.Handler):
    """Hands a record of the standard library to structlog, so that one set of processors renders everything."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger()
        level = min(
            max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL
        )  # libraries make up levels between
        logger.log(level, _message(record), logger=record.name, exc_info=record.exc_info)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)

"""Arguments as the audit log may keep them: secrets hidden, long values cut."""

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import islice

from pydantic import JsonValue

from devops_mcp.models.base import JsonObject
from devops_mcp.repositories.rows import dumps

MAX_TEXT = 500
MAX_ITEMS = 50
MAX_DEPTH = 8
MAX_BYTES = 65_536
_SECRET_WORDS = (
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "api_key",
    "apikey",
    "private_key",
    "credential",
)
HIDDEN = "***"


def masked(arguments: Mapping[str, JsonValue]) -> JsonObject:
    """A copy without the values of names that sound secret, which the database takes."""
    return _masked(arguments, MAX_DEPTH)


def bounded(arguments: Mapping[str, JsonValue]) -> JsonObject:
    """As `masked`; beyond `MAX_BYTES` only the outermost values: thousands of records are written together."""
    kept = masked(arguments)
    if len(dumps(kept)) <= MAX_BYTES:
        return kept
    return _masked(dict(islice(arguments.items(), MAX_ITEMS)), 0)


def writable(text: str) -> str:
    """The text as the database takes it: without NUL, and without half a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode(errors="replace").decode()


@lru_cache(maxsize=10_000)
def is_secret(name: str) -> bool:
    """Whether a value of this name is one to hide."""
    lowered = name.lower().replace("-", "_")
    return any(word in lowered for word in _SECRET_WORDS)


def _masked(items: Mapping[str, JsonValue], depth: int) -> JsonObject:
    return {
        writable(name[:MAX_TEXT]): HIDDEN if is_secret(name) else _shortened(value, depth)
        for name, value in items.items()
    }


def _shortened(value: JsonValue, depth: int) -> JsonValue:
    if isinstance(value, str):
        return writable(value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]}… ({len(value)} characters)")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if depth == 0 and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return _masked(value, depth - 1)
    if isinstance(value, list):
        return [_shortened(part, depth - 1) for part in value[:MAX_ITEMS]]
    return value

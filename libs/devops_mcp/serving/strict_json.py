"""JSON from outside, read strictly: what parsers silently repair, round or drop is refused.

orjson already refuses NaN, Infinity, numbers beyond a double, lone surrogates, invalid UTF-8, UTF-16, a byte order mark and raw control
characters. It lets pass: repeated keys (the last wins), NUL, integers beyond 64 bits (rounded to a double) and 1,024 levels of nesting.
"""

import json
import re
from itertools import accumulate
from typing import Any, NoReturn, cast

import orjson
from pydantic import JsonValue

from devops_mcp.models.errors import MalformedInput

MAX_DEPTH = 64
_DIGITS_TO_ZERO = bytes(ord("0") if chr(code).isdigit() else code for code in range(128)) + bytes(
    range(128, 256)
)
_LONG_NUMBER = b"0" * 19
_MANY = 10_000
"""Arrays and objects, from which on reading the text again takes less than looking into each."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


def loads(raw: bytes, max_depth: int = MAX_DEPTH) -> JsonValue:
    """The value of a JSON document in UTF-8.

    Raises `MalformedInput` for anything RFC 8259 forbids or leaves open: see the module's docstring.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(
            f"not valid JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    opened = raw.count(b"{") + raw.count(b"[")
    if opened > max_depth and (_depth_of(raw) if opened > _MANY else _depth_in(value, max_depth)) > max_depth:
        raise MalformedInput(f"JSON is nested deeper than {max_depth} levels")
    if b"\\u00" in raw or _LONG_NUMBER in raw.translate(_DIGITS_TO_ZERO) or _has_repeated_key(raw, value):
        _examine(raw)
    return cast("JsonValue", value)


def _has_repeated_key(raw: bytes, value: Any) -> bool:
    # Each key brings one colon, each string its own. Written again, what the parser dropped is missing, so a repeated key always
    # leaves fewer colons than came in, provided that none came in disguise (\u003a), which `loads` sends to the slow path.
    return raw.count(b":") != orjson.dumps(value).count(b":")


def _depth_of(raw: bytes) -> int:
    """How deep a valid document is nested."""
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKET)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _depth_in(value: Any, most: int) -> int:
    """How deep a value is nested, as far as one level more than `most`."""
    level = [value] if type(value) in (dict, list) else []
    depth = 0
    while level and depth <= most:
        depth += 1
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return depth


def _examine(raw: bytes) -> None:
    """Read again, slowly and exactly, what looked suspicious; the nesting is bounded by now."""
    json.loads(raw, object_pairs_hook=_refuse_repeated_key, parse_int=_refuse_huge_integer)
    if b"\\u0000" in raw:
        _refuse_nul(orjson.loads(raw))


def _refuse_repeated_key(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise MalformedInput(f"JSON repeats the key {key[:80]!r} in one object")
        seen.add(key)


def _refuse_huge_integer(digits: str) -> None:
    if len(digits) > 20 or not _INT64_MIN <= int(digits) <= _UINT64_MAX:
        raise MalformedInput(
            f"JSON holds an integer of {len(digits.lstrip('-'))} digits; 64 bits are the limit"
        )


def _refuse_nul(value: Any) -> None:
    level = [value]
    while level:
        if any(type(item) is str and "\x00" in item for item in level):
            _raise_nul()
        level = [part for item in level for part in _parts(item)]


def _parts(item: Any) -> list[Any]:
    if type(item) is dict:
        return [*item.keys(), *item.values()]
    return item if type(item) is list else []


def _raise_nul() -> NoReturn:
    raise MalformedInput("JSON holds a NUL character (\\u0000), which cannot be stored")

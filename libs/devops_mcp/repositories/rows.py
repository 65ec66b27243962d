"""JSON to the database and from it.

Many rows are one parameter, which `jsonb_to_recordset` reads; an array for each column costs several times as much to encode.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

_LONG = re.compile(rb"[0-9]{19}")


def rows(values: Iterable[Mapping[str, Any]]) -> str:
    """The rows, for a parameter `%s::jsonb`. Integers may have any size; nothing may hold a NUL."""
    given = list(values)
    try:
        return orjson.dumps(given).decode()
    except TypeError:  # an integer that does not fit into 64 bits
        return json.dumps(given, default=str, ensure_ascii=False)


def loads(data: bytes | str) -> Any:
    """The value, as `json.loads` gives it; orjson makes a float of an integer that does not fit into 64 bits."""
    content = data if isinstance(data, bytes) else data.encode()
    return json.loads(content) if _LONG.search(content) else orjson.loads(content)

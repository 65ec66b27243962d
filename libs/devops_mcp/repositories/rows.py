"""Many rows as one parameter: JSON that `jsonb_to_recordset` reads; an array for each column costs several times as much to encode."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson


def rows(values: Iterable[Mapping[str, Any]]) -> str:
    """The rows, for a parameter `%s::jsonb`. Integers may have any size; nothing may hold a NUL."""
    given = list(values)
    try:
        return orjson.dumps(given).decode()
    except TypeError:  # an integer that does not fit into 64 bits
        return json.dumps(given, default=str, ensure_ascii=False)

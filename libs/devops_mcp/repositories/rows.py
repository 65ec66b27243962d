"""JSON to the database and from it.

Many rows are one parameter, which `jsonb_to_recordset` reads; an array for each column costs several times as much to encode.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from typing import Any
from uuid import UUID

import orjson
from psycopg import DataError

UNWRITABLE = (DataError, ValueError)
"""What is raised for values that the database never takes, however often they are sent."""
_LONG = re.compile(rb"[0-9]{19}")


def rows(values: Iterable[Any]) -> str:
    """The rows, mappings or dataclasses, for a parameter `%s::jsonb`."""
    return dumps(list(values))


def uuids(ids: Iterable[UUID]) -> str:
    """The ids, for a parameter `%s::uuid[]`: psycopg asks of each how it is written, and takes ten times as long for a list."""
    return f"{{{','.join([id_.hex for id_ in ids])}}}"


def dumps(value: Any) -> str:
    """JSON that the database takes. Integers may have any size; nothing may hold a NUL or half a surrogate pair."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer that does not fit into 64 bits
        return json.dumps(value, default=_plain, ensure_ascii=False)


def loads(data: bytes | str) -> Any:
    """The value, as `json.loads` gives it; orjson makes a float of an integer that does not fit into 64 bits."""
    content = data if isinstance(data, bytes) else data.encode()
    return json.loads(content) if _LONG.search(content) else orjson.loads(content)


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)

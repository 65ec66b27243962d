"""Results made to fit a reader with limited room: chosen fields, nothing empty, cut with a mark.

Cutting shares the room out: what is small stays whole, the large parts are cut alike; lists keep their first items,
texts their beginning. The cut value has the shape of the whole one, so a tool's output schema holds for both.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from pydantic import BaseModel, JsonValue

from devops_mcp.adapters.base import ToolResult
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, Violation

_ALWAYS = frozenset({"items", "next_cursor", "total", "truncated"})


@dataclass(frozen=True, slots=True)
class Shaped:
    """`shown` is what is shown, as JSON. `whole` is the full JSON when something was cut, else None; `cut` says what."""

    shown: bytes
    whole: bytes | None = None
    cut: tuple[str, ...] = ()


def shape(result: ToolResult, fields: tuple[str, ...], budget_bytes: int) -> Shaped:
    """The result as JSON of at most `budget_bytes`, with only `fields` where given. Raises `InvalidInput` for a field it lacks."""
    if not fields:  # once through, which most results are
        encoded = result.model_dump_json(exclude_none=True).encode()
        if len(encoded) <= budget_bytes:
            return Shaped(encoded)
    data: JsonObject = result.model_dump(mode="json", exclude_none=True)
    if fields:
        data = _chosen(result, data, fields)
        encoded = orjson.dumps(data)
        if len(encoded) <= budget_bytes:
            return Shaped(encoded)
    cuts: list[str] = []
    fitted = _fit_object(data, budget_bytes, "", cuts)
    return Shaped(orjson.dumps(fitted), orjson.dumps(data, option=orjson.OPT_INDENT_2), tuple(cuts))


def fitted(data: JsonObject, budget_bytes: int) -> bytes:
    """The data as JSON of at most `budget_bytes`, for a reader that is given nothing to read the rest by."""
    return orjson.dumps(_fit(data, budget_bytes, "", []))


def _chosen(result: ToolResult, data: JsonObject, fields: tuple[str, ...]) -> JsonObject:
    wanted = frozenset(fields)
    listed = getattr(result, "items", None)
    items = data.get("items")
    if isinstance(listed, list) and isinstance(items, list):
        if listed and isinstance(listed[0], BaseModel):
            _refuse_unknown(wanted, type(listed[0]).model_fields)
        return {**data, "items": [_only(item, wanted) for item in items]}
    _refuse_unknown(wanted, type(result).model_fields)
    return {name: value for name, value in data.items() if name in wanted or name in _ALWAYS}


def _only(item: JsonValue, wanted: frozenset[str]) -> JsonValue:
    return {name: value for name, value in item.items() if name in wanted} if isinstance(item, dict) else item


def _refuse_unknown(wanted: frozenset[str], known: Iterable[str]) -> None:
    known = sorted(set(known) - _ALWAYS)
    if unknown := sorted(wanted - set(known)):
        problem = f"no field {unknown[0]!r}; there are: {', '.join(known)}"
        raise InvalidInput(problem, (Violation("arguments.fields", problem),))


def _fit(value: JsonValue, room: int, path: str, cuts: list[str]) -> JsonValue:
    if _size(value) <= room:
        return value
    if isinstance(value, str):
        return _fit_text(value, room, path, cuts)
    if isinstance(value, list):
        return _fit_list(value, room, path, cuts)
    if isinstance(value, dict):
        return _fit_object(value, room, path, cuts)
    return value


def _fit_text(value: str, room: int, path: str, cuts: list[str]) -> str:
    kept = value.encode()[: max(room - 4, 0)].decode(errors="ignore")
    while len(kept) > 16 and _size(kept) > room:
        kept = kept[: len(kept) * 9 // 10]
    cuts.append(f"{path} ({len(kept)} of {len(value)} characters)")
    return f"{kept}…"


def _fit_list(value: list[JsonValue], room: int, path: str, cuts: list[str]) -> list[JsonValue]:
    kept: list[JsonValue] = []
    left = room - 2
    for item in value:
        size = _size(item) + 1
        if size > left:
            break
        kept.append(item)
        left -= size
    if not kept and value:
        kept = [_fit(value[0], left, f"{path}[0]", cuts)]
    if len(kept) < len(value):
        cuts.append(f"{path} ({len(kept)} of {len(value)} items)")
    return kept


def _fit_object(value: JsonObject, room: int, path: str, cuts: list[str]) -> JsonObject:
    sizes = {name: _size(part) for name, part in value.items()}
    frame = 2 + sum(len(name.encode()) + 4 for name in value)
    share = _share(list(sizes.values()), max(room - frame, 0))
    return {
        name: part if sizes[name] <= share else _fit(part, share, f"{path}.{name}" if path else name, cuts)
        for name, part in value.items()
    }


def _share(sizes: list[int], room: int) -> int:
    """The largest share such that parts of `sizes`, each cut to it, fit into `room`."""
    left = room
    ordered = sorted(sizes)
    for i, size in enumerate(ordered):
        share = left // (len(ordered) - i)
        if size > share:
            return share
        left -= size
    return room


def _size(value: JsonValue) -> int:
    return len(orjson.dumps(value))

"""A tool's arguments, checked before anything is done with them."""

import math
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from devops_mcp.adapters.base import Params
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.violations import refused
from devops_mcp.operations.catalogue import CatalogueEntry

MAX_VALUES = 10_000
"""In the arguments of a call: to find out of each value that it is wrong, and to say so, costs far more than to send it."""


def validate(entry: CatalogueEntry, arguments: Mapping[str, JsonValue]) -> Params:
    """The arguments as the tool's params; raises `InvalidInput` that names each fault."""
    if _values(arguments) > MAX_VALUES:
        raise InvalidInput(f"arguments: more than {MAX_VALUES} values in one call; make several")
    if not _is_storable(dict(arguments)) and (fault := _unstorable(dict(arguments), "arguments")):
        raise InvalidInput(f"{fault.where}: {fault.problem}", (fault,))
    try:
        params: Params = entry.tool.params.model_validate(arguments)
    except ValidationError as error:
        raise refused(error, "arguments") from None
    return params


def _values(container: Mapping[str, JsonValue] | list[JsonValue]) -> int:
    """How many values there are in it, and in those."""
    parts = container if isinstance(container, list) else container.values()
    return len(container) + sum(_values(part) for part in parts if isinstance(part, dict | list))


def _is_storable(value: JsonValue) -> bool:
    """Whether `_unstorable` finds nothing: nearly always, and so asked first, without a name for each part."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, dict):
        return all(map(_is_storable, value.values()))
    if isinstance(value, list):
        return all(map(_is_storable, value))
    return not isinstance(value, float) or math.isfinite(value)


def _unstorable(value: JsonValue, where: str) -> Violation | None:
    """The first NaN, infinity or NUL: JSON has none of the first two, and no database or path takes the third."""
    if isinstance(value, str):
        return Violation(where, "contains a NUL character") if "\0" in value else None
    if isinstance(value, float) and not math.isfinite(value):
        return Violation(where, "is not a finite number")
    parts: list[tuple[str, JsonValue]] = []
    if isinstance(value, dict):
        parts = [(f"{where}.{name}", part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{where}[{i}]", part) for i, part in enumerate(value)]
    return next((fault for name, part in parts if (fault := _unstorable(part, name))), None)

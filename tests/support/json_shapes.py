"""The shape of a JSON value: which keys, which kinds, not which values. For comparing a stand-in with the real thing."""

from collections.abc import Collection
from typing import Any, TypeAlias

Shape: TypeAlias = str | tuple[Any, ...]


def shape_of(value: Any, maps: Collection[str] = (), name: str = "") -> Shape:
    """`maps` names the keys whose objects map freely chosen names to values, so that their own keys do not matter."""
    if isinstance(value, dict):
        inner = [(key, shape_of(item, maps, key)) for key, item in value.items()]
        if name in maps:
            return ("map", *sorted({str(shape) for _, shape in inner}))
        return ("object", *sorted(inner, key=lambda pair: pair[0]))
    if isinstance(value, list):
        return ("list", *sorted({str(shape_of(item, maps)) for item in value}))
    if isinstance(value, bool) or value is None:
        return str(type(value).__name__)
    return "number" if isinstance(value, int | float) else "text"

"""Values with places for an event's fields: `{{ $.path }}`, and nothing else. What is filled in is never read as a template again."""

import re
from collections.abc import Iterator

from pydantic import JsonValue

from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.event_paths import Missing, is_path, value_at

_OPENING = "{{"
MAX_PLACES = 50
"""Of one template: each may be filled with as much as an event holds."""
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


def check(template: JsonValue, where: str) -> bool:
    """Raise `InvalidInput` for what looks like a placeholder and is none; whether there are any."""
    found = 0
    for place, text, is_name in _texts(template, where):
        rest = text if is_name else _PLACEHOLDER.sub("", text)
        paths = [] if is_name else [path.strip() for path in _PLACEHOLDER.findall(text)]
        if _OPENING in rest or not all(map(is_path, paths)):
            problem = "holds '{{' that begins no placeholder such as {{ $.subject }}"
            raise InvalidInput(f"{place}: {problem}", (Violation(place, problem),))
        found += len(paths)
    if found > MAX_PLACES:
        problem = f"holds more than {MAX_PLACES} placeholders"
        raise InvalidInput(f"{where}: {problem}", (Violation(where, problem),))
    return found > 0


def fill(template: JsonObject, document: JsonObject) -> JsonObject:
    """The values with the event's fields. Raises `InvalidInput` for a field that is not there, or that no text can hold."""
    return {name: _filled(value, document) for name, value in template.items()}


def fill_text(template: str, document: JsonObject) -> str:
    """The text with the event's fields; raises as `fill` does."""
    return _PLACEHOLDER.sub(lambda found: _as_text(found[1], _value(found[1], document)), template)


def _filled(value: JsonValue, document: JsonObject) -> JsonValue:
    match value:
        case str():
            whole = _PLACEHOLDER.fullmatch(value)
            return _value(whole[1], document) if whole else fill_text(value, document)
        case list():
            return [_filled(part, document) for part in value]
        case dict():
            return fill(value, document)
        case _:
            return value


def _value(path: str, document: JsonObject) -> JsonValue:
    try:
        return value_at(path.strip(), document)
    except Missing:
        raise InvalidInput(f"the event has no {path.strip()}") from None


def _as_text(path: str, value: JsonValue) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            raise InvalidInput(
                f"{path.strip()} is neither text nor number, and so cannot stand within a text"
            )


def _texts(value: JsonValue, where: str) -> Iterator[tuple[str, str, bool]]:
    """Every text with its place; the third tells whether it is a name."""
    if isinstance(value, str):
        yield where, value, False
    elif isinstance(value, dict):
        for name, part in value.items():
            yield where, name, True
            yield from _texts(part, f"{where}.{name}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, f"{where}[{number}]")

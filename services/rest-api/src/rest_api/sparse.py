"""`fields=id,name`: answers that hold only what was asked for."""

from collections.abc import Collection
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.models.pages import WrittenPage

FIELDS = "fields"


def item_model(reply: type[BaseModel]) -> type[BaseModel] | None:
    """What the list that `reply` is holds, or None where it is no list."""
    field = reply.model_fields.get("items")
    arguments = get_args(field.annotation) if field is not None else ()
    if field is None or get_origin(field.annotation) is not tuple or len(arguments) != 2:
        return None
    item = arguments[0]
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None


def names_of(reply: type[BaseModel]) -> tuple[str, ...]:
    """What may be asked for: the fields of the items of a list, else those of the reply itself."""
    model = item_model(reply) or reply
    return tuple(name for name, field in model.model_fields.items() if not field.exclude)


def chosen(value: str, known: Collection[str]) -> tuple[str, ...]:
    """The names in `value`; raises `InvalidInput` for one that is not known, or comes twice."""
    names = tuple(value.split(","))
    unknown = [name for name in names if name not in known]
    if unknown:
        problem = f"{unknown[0][:60]!r} is not one of {', '.join(known)}"
        raise InvalidInput(f"{FIELDS}: {problem}", (Violation(FIELDS, problem),))
    if len(set(names)) < len(names):
        raise InvalidInput(f"{FIELDS}: a name comes twice", (Violation(FIELDS, "a name comes twice"),))
    return names


def whole(reply: BaseModel | WrittenPage) -> bytes:
    """The reply as JSON."""
    if isinstance(reply, WrittenPage):
        return reply.as_json()
    # Not by way of Python's objects: a large float comes back from PostgreSQL as an integer that orjson does not write.
    return reply.model_dump_json().encode()


def part_of(declared: type[BaseModel], reply: BaseModel | WrittenPage, names: Collection[str]) -> str:
    """The reply as JSON with these fields only; what is declared as a list stays one, with its cursor."""
    if isinstance(reply, WrittenPage):
        reply = declared.model_validate_json(reply.as_json())
    if item_model(declared) is None:
        return reply.model_dump_json(include=set(names))
    every: Any = dict.fromkeys(declared.model_fields, True)
    return reply.model_dump_json(include={**every, "items": {"__all__": set(names)}})

"""Rows as models, without checking again what the columns' types say: it was checked when it was written."""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, TypeAlias, TypeVar, get_args, get_origin
from uuid import UUID

from psycopg.rows import BaseRowFactory, RowMaker, class_row
from pydantic import BaseModel, TypeAdapter

ModelT = TypeVar("ModelT", bound=BaseModel)
Convert: TypeAlias = Callable[[Any], Any]

_AS_THEY_COME = (UUID, str, int, bool, float, datetime)
_put = object.__setattr__


def stored(model: type[ModelT]) -> BaseRowFactory[ModelT]:
    """As psycopg's `class_row`, for a model each of whose fields has a column; others are checked field by field."""
    return _factory(model)


@cache
def _factory(model: type[ModelT]) -> BaseRowFactory[ModelT]:
    checked = class_row(model)
    makers: dict[tuple[bytes | None, ...], RowMaker[ModelT] | None] = {}

    def factory(cursor: Any) -> RowMaker[ModelT]:
        result = cursor.pgresult
        columns = tuple([result.fname(i) for i in range(result.nfields)]) if result is not None else ()
        if columns not in makers:
            makers[columns] = _maker(model, [name.decode() for name in columns if name is not None])
        return makers[columns] or checked(cursor)

    return factory


def _maker(model: type[ModelT], names: Sequence[str]) -> RowMaker[ModelT] | None:
    if set(names) != set(model.model_fields):
        return None
    converted = _conversions(model)
    given = set(names)

    def make(values: Sequence[Any]) -> ModelT:
        fields = dict(zip(names, values, strict=True))
        for name, convert in converted:
            if (value := fields[name]) is not None:
                fields[name] = convert(value)
        made = model.__new__(model)
        _put(made, "__dict__", fields)
        _put(made, "__pydantic_fields_set__", given)
        _put(made, "__pydantic_extra__", None)
        _put(made, "__pydantic_private__", None)
        return made

    return make


def _conversions(model: type[BaseModel]) -> list[tuple[str, Convert]]:
    """What becomes of the values of the fields that are not as they come."""
    found = [(name, _conversion(field.annotation)) for name, field in model.model_fields.items()]
    return [(name, convert) for name, convert in found if convert is not None]


def _conversion(annotation: Any) -> Convert | None:
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    kind = kinds[0] if len(kinds) == 1 and NoneType in get_args(annotation) else annotation
    if kind in _AS_THEY_COME or get_origin(kind) is dict:
        return None
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return TypeAdapter(kind).validate_python

"""Rows as the JSON that their models are written as, without a model between: for lists, of which nothing but that is wanted.

The values are taken as PostgreSQL writes them, whose session is in UTC.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Any, Final, NamedTuple, TypeAlias, cast, get_args, get_origin
from uuid import UUID

import orjson
from psycopg.pq import Format
from psycopg.rows import BaseRowFactory
from pydantic import BaseModel

Values: TypeAlias = Sequence[str | None]
Write: TypeAlias = Callable[[str], str]

_TEXT: Final = 25
"""What `text` is to PostgreSQL: read so, a value of any type stays as it came."""
_SECOND: Final = len("2026-11-21T10:00:00")
_MICROSECOND: Final = len("2026-11-21T10:00:00.000000")


class Written(NamedTuple):
    """A row; see `models.pages.WrittenRow`."""

    shape: "_Shape"
    values: Values

    @property
    def json(self) -> str:
        """An object, its members in the order of the columns."""
        return self.shape.json(self.values)

    def value(self, field: str) -> str:
        """As PostgreSQL writes it; it must not be NULL."""
        value = self.values[self.shape.names.index(field)]
        assert value is not None, field
        return value


@cache
def written(model: type[BaseModel]) -> BaseRowFactory[Written]:
    """A row factory like `stored`, for a model each of whose fields has a column: ids, texts, numbers, times and JSON.

    Raises `TypeError` for a model with other fields.
    """
    shapes: dict[tuple[bytes | None, ...], _Shape] = {}

    def factory(cursor: Any) -> Callable[[Values], Written]:
        result = cursor.pgresult
        if result is None:
            return lambda _: Written(_Shape(model, ()), ())
        cursor._tx.set_loader_types([_TEXT] * result.nfields, Format.TEXT)
        columns = tuple([result.fname(i) for i in range(result.nfields)])
        if columns not in shapes:
            shapes[columns] = _Shape(model, [cast("bytes", name).decode() for name in columns])
        shape = shapes[columns]
        return lambda values: Written(shape, values)

    return factory


class _Shape:
    """What a row of these columns looks like as JSON."""

    def __init__(self, model: type[BaseModel], names: Sequence[str]) -> None:
        self.names = names
        parts = [_part(model.model_fields[name].annotation) for name in names]
        members = [f'"{name}":{form}' for name, (form, _) in zip(names, parts, strict=True)]
        self._template = f"{{{','.join(members)}}}"
        self._converted = [(place, write) for place, (_, write) in enumerate(parts) if write is not None]

    def json(self, values: Values) -> str:
        said = list(values)
        for place, write in self._converted:
            value = said[place]
            said[place] = "null" if value is None else write(value)
        return self._template % tuple(said)


def _part(annotation: Any) -> tuple[str, Write | None]:
    """How a value is written within the object, and what becomes of it before; nothing where it never is NULL and needs nothing."""
    arguments = get_args(annotation)
    optional = NoneType in arguments
    [kind] = [kind for kind in arguments if kind is not NoneType] if optional else [annotation]
    if kind is UUID:
        return ("%s", _quoted) if optional else ('"%s"', None)
    if kind is int or get_origin(kind) is dict:
        return "%s", str if optional else None
    if kind is datetime:
        return "%s", _moment
    if kind is str:
        return "%s", _string
    raise TypeError(f"a column that is {annotation} is not written as JSON")


def _quoted(value: str) -> str:
    return f'"{value}"'


def _string(value: str) -> str:
    return orjson.dumps(value).decode()


def _moment(value: str) -> str:
    """A time in UTC, `2026-11-21 10:00:00.5+00`, as pydantic writes it: with all of six digits, or none."""
    moment = value[:-3].replace(" ", "T")
    return f'"{moment}Z"' if len(moment) == _SECOND else f'"{moment.ljust(_MICROSECOND, "0")}Z"'

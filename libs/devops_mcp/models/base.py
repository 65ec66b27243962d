"""What all models have in common."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Final, TypeAlias

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
)
from pydantic_core import to_json

_TIME: Final = TypeAdapter(datetime)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")

JsonObject: TypeAlias = dict[str, JsonValue]
MAX_METADATA = 16_384
"""Bytes: what is noted of something comes along wherever that is listed, recorded or found."""

OWN_SYSTEM = "devops-mcp"
"""System and source of the events that we bring about ourselves; no adapter and no integration may have this name.

Of these hears who names them, by system, source or type. To everybody else an event is what happened in one of their systems.
"""

Clock = Callable[[], datetime]


def _spelled_out(given: object) -> object:
    if not isinstance(given, str):
        return given
    if not _DATE.match(given):
        raise ValueError("must be a time such as 2026-11-21T10:00:00Z (RFC 3339)")
    return _TIME.validate_python(given)


def _in_utc(given: datetime) -> datetime:
    """What lies beyond the first or the last moment that can be read again is that moment."""
    try:
        return given.astimezone(UTC)
    except OverflowError:
        return _FIRST if given.year == _FIRST.year else _LAST


Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_spelled_out), AfterValidator(_in_utc)]
"""A time as outsiders give it, in UTC: with its offset, and never a bare number, which might count seconds or milliseconds."""


def _bounded(given: JsonObject) -> JsonObject:
    if given and len(to_json(given)) > MAX_METADATA:
        raise ValueError(f"must have at most {MAX_METADATA} bytes as JSON; keep more in an item or a file")
    return given


Metadata: TypeAlias = Annotated[
    JsonObject, AfterValidator(_bounded), Field(description=f"At most {MAX_METADATA // 1024} KiB.")
]
"""What outsiders note of something, and look for it by."""


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class Model(BaseModel):
    """A frozen value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    UNVERSIONED: ClassVar[frozenset[str]] = frozenset()
    """Fields that change by themselves: whoever has seen another value of one has still seen what is to be changed."""

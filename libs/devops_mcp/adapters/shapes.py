"""Reading a vendor's JSON into our own, smaller models.

A shape names only the fields a reader needs; `Field(validation_alias=AliasPath("user", "login"))` says where the vendor keeps one. It is
written out under our own names, and read back from them (a cached result).
"""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from devops_mcp.models.errors import UpstreamInvalid
from devops_mcp.models.violations import details_of

MAX_EXCERPT = 300


class Shape(BaseModel):
    """Part of a vendor's answer; what it does not name is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)


ShapeT = TypeVar("ShapeT", bound=Shape)


def read(shape: type[ShapeT], raw: Any) -> ShapeT:
    """`raw`, as the vendor sent it, in this shape; raises `UpstreamInvalid` naming the field that does not fit."""
    try:
        return shape.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        fault = details_of(error)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the answer"
        raise UpstreamInvalid(
            f"the system's {shape.__name__} does not fit: {where}: {fault['msg']}"
        ) from None


def read_all(shape: type[ShapeT], raw: Any) -> list[ShapeT]:
    """Each of a list, as `read`."""
    if not isinstance(raw, Iterable) or isinstance(raw, str | bytes | dict):
        raise UpstreamInvalid(f"the system's answer is not a list of {shape.__name__}")
    return [read(shape, item) for item in raw]


def excerpt(text: str, limit: int = MAX_EXCERPT) -> str:
    """The beginning of `text` on one line, with a mark where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit].rstrip()}… ({len(text) - limit} more characters)"


def first_line(text: str, limit: int = 200) -> str:
    """The first line that is not empty, without control characters, at most `limit` characters."""
    for line in text.splitlines():
        clean = "".join(c for c in line if c.isprintable()).strip()
        if clean:
            return clean if len(clean) <= limit else f"{clean[: limit - 1].rstrip()}…"
    return ""


def _text(value: Any) -> Any:
    return "" if value is None else value


def _excerpt(value: Any) -> Any:
    return excerpt(value) if isinstance(value, str) else _text(value)


def _first_line(value: Any) -> Any:
    return first_line(value) if isinstance(value, str) else _text(value)


Text = Annotated[str, BeforeValidator(_text)]
"""The whole text; null is the empty one."""
Excerpt = Annotated[str, BeforeValidator(_excerpt)]
"""The beginning of a text, on one line."""
FirstLine = Annotated[str, BeforeValidator(_first_line)]
"""The first line of a text, such as a commit's subject."""

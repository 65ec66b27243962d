"""Paths to one place in a JSON document: RFC 9535's singular queries, such as `$.labels['severity']` or `$.messages[0]`.

Only these: a path that leads to one place costs a few steps, whoever wrote it.
"""

import re
from functools import lru_cache
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, JsonValue

from devops_mcp.models.base import JsonObject

MAX_LENGTH = 300
_STEP = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_]*)|\['([^'\\]+)'\]|\["([^"\\]+)"\]|\[(0|[1-9][0-9]{0,5})\]""")


class Missing(LookupError):
    """The document has nothing there."""


def is_path(text: str) -> bool:
    """Whether it is such a path, of at most `MAX_LENGTH` characters: `$`, then steps and nothing besides them."""
    return 1 < len(text) <= MAX_LENGTH and text[0] == "$" and not _STEP.sub("", text[1:])


def _checked(path: str) -> str:
    if not is_path(path):
        raise ValueError("is not a path to one place, such as $.subject or $.labels['severity']")
    return path


SingularPath: TypeAlias = Annotated[str, Field(min_length=2, max_length=MAX_LENGTH), AfterValidator(_checked)]


def value_at(path: str, document: JsonObject) -> JsonValue:
    """What stands there; raises `Missing`. The path has been checked."""
    place: JsonValue = document
    for step in _steps(path):
        match place:
            case dict() if isinstance(step, str) and step in place:
                place = place[step]
            case list() if isinstance(step, int) and step < len(place):
                place = place[step]
            case _:
                raise Missing(path)
    return place


@lru_cache(maxsize=4_096)
def _steps(path: str) -> tuple[str | int, ...]:
    return tuple(
        int(index) if index else name or quoted or double_quoted
        for name, quoted, double_quoted, index in _STEP.findall(path)
    )

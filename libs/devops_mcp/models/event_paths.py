"""Paths to one place in a JSON document: RFC 9535's singular queries, such as `$.labels['severity']` or `$.messages[0]`.

Only these: a path that leads to one place costs a few steps, whoever wrote it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, JsonValue

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


def value_at(path: str, document: Mapping[str, JsonValue]) -> JsonValue:
    """What stands there; raises `Missing`. The path has been checked."""
    place: JsonValue = dict(document)
    for name, quoted, double_quoted, index in _STEP.findall(path):
        if index and isinstance(place, list) and int(index) < len(place):
            place = place[int(index)]
        elif not index and isinstance(place, dict) and (key := name or quoted or double_quoted) in place:
            place = place[key]
        else:
            raise Missing(path)
    return place

"""Versions of what is answered (RFC 9110): a digest of the whole representation, so that whatever changes in it makes another.

The tag of a part (`fields=`) goes on with `.` and a digest of the part, that of an encoded answer with `-` and the encoding's name; what
comes before either is the version, which is all that `If-Match` compares. Fields that change by themselves are no part of the version:
where there are such, the tag goes on with `.` and a digest of the whole.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import blake2b

from starlette.datastructures import Headers

_VERSION = 12
_PART = 4
_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_VERSION_OF = re.compile(r"[^.-]*")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request to change something says of how it is to be found; None where it says nothing."""

    match: str | None
    none_match: str | None

    @classmethod
    def of(cls, headers: Headers) -> "Conditions":
        return cls(condition(headers, "if-match"), condition(headers, "if-none-match"))

    def __bool__(self) -> bool:
        return self.match is not None or self.none_match is not None

    def met(self, tag: str | None) -> bool:
        """Whether what is there, with this tag, is as it is to be; None: there is nothing."""
        if tag is None:
            return self.match is None
        expected = self.match is None or matches(self.match, tag)
        return expected and not (self.none_match is not None and is_known(self.none_match, tag))


def condition(headers: Headers, name: str) -> str | None:
    """The list of tags of a header, on whichever lines it is sent."""
    lines = headers.getlist(name)
    return ", ".join(lines) if lines else None


def version_of(representation: bytes) -> str:
    """The version that a representation, as JSON, is."""
    return blake2b(representation, digest_size=_VERSION).hexdigest()


def part_version(tag: str, part: bytes) -> str:
    """The tag of a part of it."""
    return f"{_whole(tag)}.{blake2b(part, digest_size=_PART).hexdigest()}"


def tag_of(representation: bytes, unversioned: Collection[str]) -> str:
    """The tag of a representation, as JSON, in which the fields `unversioned` change by themselves."""
    if not unversioned:
        return version_of(representation)
    settled = {name: value for name, value in json.loads(representation).items() if name not in unversioned}
    return part_version(version_of(json.dumps(settled).encode()), representation)


def matches(header: str, tag: str) -> bool:
    """Whether `If-Match` names the version of this tag; by strong comparison, so that a weak tag never does."""
    if header.strip() == "*":
        return True
    strong = (found for found in _TAG.finditer(header) if not found[0].startswith("W/"))
    return any(_whole(tag) == _whole(found[1]) for found in strong)


def is_known(header: str, tag: str) -> bool:
    """Whether `If-None-Match` names this tag, in whatever encoding it was sent."""
    if header.strip() == "*":
        return True
    return any(found[1].partition("-")[0] == tag for found in _TAG.finditer(header))


def _whole(tag: str) -> str:
    found = _VERSION_OF.match(tag)
    return found[0] if found else ""

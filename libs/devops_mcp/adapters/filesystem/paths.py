"""Paths as agents write them: `<root>/<relative>`, split into names before anything touches the disk."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase, translate

from devops_mcp.models.errors import InvalidInput, NotFound

ROOT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
TEMPORARY = ".devops-mcp-*.tmp"
"""Half-written files of `fs_write`: never shown, whatever `deny` says."""

MAX_PATH_BYTES = 4_096
MAX_NAME_BYTES = 255
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Location:
    """A place beneath a root; `parts` are plain names, none of them `.`, `..` or with a slash."""

    root: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.root, *(shown(part) for part in self.parts)))

    @property
    def name(self) -> str:
        return self.parts[-1]

    @property
    def parent(self) -> "Location":
        return Location(self.root, self.parts[:-1])

    def child(self, name: str) -> "Location":
        return Location(self.root, (*self.parts, name))

    def below(self, start: "Location") -> tuple[str, ...]:
        """The names that lead from `start` down to here."""
        return self.parts[len(start.parts) :]


def shown(name: str) -> str:
    """A file name as text: bytes that are not UTF-8 and control characters are written as escapes."""
    return _UNSAFE.sub(lambda match: _escaped(match.group()), name)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is not UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def parse_location(path: str, roots: Sequence[str]) -> Location:
    """The place that `path` names. `.` and doubled slashes fall away; percent signs and backslashes are part of a name.

    Raises `InvalidInput` for an absolute path, `..`, control characters and names too long, `NotFound` for an unknown root.
    """
    begin = f"begin with a root: {', '.join(roots)}"
    if path.startswith("/"):
        raise InvalidInput(f"path {shown(path)!r} is absolute; {begin}")
    if _UNSAFE.search(path):
        raise InvalidInput(f"path {shown(path)!r} holds a control character")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names:
        raise InvalidInput(f"path is empty; {begin}")
    if ".." in names:
        raise InvalidInput(f"path {path!r} holds '..'; name the place directly")
    if len(path.encode()) > MAX_PATH_BYTES or any(len(name.encode()) > MAX_NAME_BYTES for name in names):
        raise InvalidInput(f"path is too long: at most {MAX_PATH_BYTES} bytes, {MAX_NAME_BYTES} a name")
    if names[0] not in roots:
        raise NotFound(f"there is no root {names[0]!r}; {begin}")
    return Location(names[0], tuple(names[1:]))


class DenyRules:
    """Which names are closed.

    A rule sees one name, never a path: so neither moving a folder nor naming the place differently opens what is closed. Names are
    compared without case and composed, because some filesystems (macOS) do not tell them apart.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        rules = (translate(_folded(pattern)) for pattern in (*patterns, TEMPORARY))
        self._closed = re.compile("|".join(rules))

    def closes(self, name: str) -> bool:
        return self._closed.match(_folded(name)) is not None

    def closed_part(self, location: Location) -> str | None:
        """The first name on the way to `location` that is closed."""
        return next((part for part in location.parts if self.closes(part)), None)


def deny_name(pattern: str) -> str:
    """The name that a deny pattern closes; `.git/**`, `**/.git` and `.git/` all mean `.git`.

    Raises `ValueError` for a pattern of several names: a folder above could be moved, and the rule with it.
    """
    name = pattern.removeprefix("**/").removesuffix("/**").strip("/")
    if not name or "/" in name:
        raise ValueError(f"deny pattern {pattern!r} must be one name, such as '.git' or '*.pem'")
    return name


def glob_matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a glob, split at its slashes, matches a relative path; `**` stands for any number of folders.

    Takes len(pattern) x len(parts) steps at most, whatever the pattern.
    """
    reached = {0}
    for part in parts:
        reached = _through_stars(pattern, reached)
        reached = {
            index if pattern[index] == "**" else index + 1
            for index in reached
            if index < len(pattern) and (pattern[index] == "**" or fnmatchcase(part, pattern[index]))
        }
    return len(pattern) in _through_stars(pattern, reached)


def split_glob(glob: str) -> tuple[str, ...]:
    """The names of a glob. One without a slash matches at any depth: `*.py` is `**/*.py`."""
    names = tuple(name for name in glob.split("/") if name not in ("", "."))
    if not names or ".." in names:
        raise InvalidInput(f"glob {shown(glob)!r} names nothing; write for instance '*.log' or 'src/**/*.py'")
    return names if "/" in glob else ("**", *names)


def _through_stars(pattern: Sequence[str], reached: set[int]) -> set[int]:
    open_ends = set(reached)
    for index in range(len(pattern)):
        if index in open_ends and pattern[index] == "**":
            open_ends.add(index + 1)
    return open_ends


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

"""Entries as tools show them, and the cursors by which lists go on."""

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from devops_mcp.adapters.base import ListParams
from devops_mcp.adapters.filesystem.client import Sandbox, kind_of
from devops_mcp.adapters.filesystem.paths import Location
from devops_mcp.models.errors import Forbidden, InvalidInput

PATH = "`<root>/<path in it>`."


class PagedParams(ListParams):
    """A list whose cursor holds a path, which may be long."""

    cursor: str | None = Field(
        default=None, max_length=16_000, description="`next_cursor` of the page before."
    )


class Entry(BaseModel):
    """Something in a folder. Size only of files; no details of what cannot be looked at."""

    model_config = ConfigDict(extra="forbid")

    path: str
    kind: str
    size_bytes: int | None = None
    modified: datetime | None = None


def entry_of(location: Location, status: os.stat_result | None) -> Entry:
    if status is None:
        return Entry(path=str(location), kind="unreadable")
    kind = kind_of(status.st_mode)
    size = status.st_size if kind == "file" else None
    return Entry(path=str(location), kind=kind, size_bytes=size, modified=modified_at(status))


def modified_at(status: os.stat_result) -> datetime:
    """The time of the last change of content; the ends of the calendar stand for what it cannot hold."""
    try:
        return datetime.fromtimestamp(int(status.st_mtime), UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC) if status.st_mtime > 0 else datetime.min.replace(tzinfo=UTC)


def status_of(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What an entry is, links not followed; None when it vanished or may not be looked at."""
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def write_cursor(*values: JsonValue) -> str:
    return urlsafe_b64encode(json.dumps(values, separators=(",", ":")).encode()).decode()


def read_cursor(cursor: str) -> list[JsonValue]:
    """The values of a cursor; raises `InvalidInput` for what `write_cursor` did not write."""
    try:
        values = json.loads(urlsafe_b64decode(cursor.encode()))
    except (NotBase64, ValueError, RecursionError):
        values = None
    if not isinstance(values, list):
        raise bad_cursor()
    return values


def bad_cursor() -> InvalidInput:
    return InvalidInput("cursor is not one that this list gave out; start again without it")


def read_names(values: list[JsonValue], start: Location, sandbox: Sandbox) -> tuple[str, ...]:
    """Names below `start` from a cursor, held to the rules of a path."""
    names = tuple(value for value in values if isinstance(value, str))
    if len(names) != len(values) or any(
        name in ("", ".", "..") or "/" in name or "\0" in name for name in names
    ):
        raise bad_cursor()
    if sandbox.is_closed(Location(start.root, (*start.parts, *names))):
        raise Forbidden("cursor leads to a closed name; start again without it")
    return names

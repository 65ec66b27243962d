"""`fs_search`: names by glob, lines by text or RE2 pattern.

RE2 (the google-re2 package) takes time linear in the text whatever the pattern, with bounded memory and without holding the interpreter;
a pattern for `re` could run for hours in a thread that nothing can stop.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import re2
from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.base import Listing
from devops_mcp.adapters.filesystem.budget import Budget, StoppedBy
from devops_mcp.adapters.filesystem.client import Filesystem, OpenFile, Sandbox, kind_of
from devops_mcp.adapters.filesystem.listing import (
    PATH,
    PagedParams,
    bad_cursor,
    read_cursor,
    read_names,
    status_of,
    write_cursor,
)
from devops_mcp.adapters.filesystem.paths import Location, glob_matches, split_glob
from devops_mcp.adapters.filesystem.text import Window, windows
from devops_mcp.adapters.filesystem.tools.list import USUALLY_SKIPPED
from devops_mcp.adapters.filesystem.walk import MAX_DEPTH, Walk
from devops_mcp.models.errors import InvalidInput, PlatformError

Pattern: TypeAlias = Any
"""A compiled RE2 pattern over bytes; the package has no types."""

MAX_SHOWN = 300
"""Bytes of a line that are shown, around the match."""
_AROUND = 20_000
_PATTERN_MEMORY = 4 * 1024 * 1024


class SearchParams(PagedParams):
    path: str = Field(max_length=4_096, description=f"File, or folder to search below, {PATH}")
    glob: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Only such paths: `*.log` anywhere, `src/**/*.py` below `path`.",
    )
    text: str | None = Field(
        default=None, min_length=1, max_length=500, description="Exact text to find in lines."
    )
    regex: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Instead of `text`: RE2 pattern within one line; no look-around, no back-references.",
    )
    ignore_case: bool = Field(default=False, description="Find upper and lower case alike.")
    context: int = Field(default=0, ge=0, le=5, description="Lines to show before and after each match.")
    exclude: tuple[str, ...] = Field(
        default=USUALLY_SKIPPED, max_length=50, description="Names of folders that are not entered."
    )


class Match(BaseModel):
    """A line found, or, when no text was asked for, a path. `before` and `after` are the lines around."""

    model_config = ConfigDict(extra="forbid")

    path: str
    kind: str | None = None
    line: int | None = None
    text: str | None = None
    before: list[str] = Field(default_factory=list)
    after: list[str] = Field(default_factory=list)


class Matches(Listing[Match]):
    """What was found so far. `stopped_by` says what ran out when a page ends early; `next_cursor` goes on from there.

    `skipped` counts files on this page that hold no text or could not be opened.
    """

    files_searched: int = 0
    skipped: int = 0
    stopped_by: StoppedBy | None = None


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far a search came: all before `names`, and in that file all before `line`, which begins at byte `offset`."""

    names: tuple[str, ...] = ()
    line: int = 1
    offset: int = 0


@dataclass(slots=True)
class _Search:
    """One call's search; `mark` moves with it."""

    params: SearchParams
    sandbox: Sandbox
    budget: Budget
    start: Location
    pattern: Pattern | None
    mark: _Mark
    found: Matches = field(default_factory=lambda: Matches(items=[]))

    def full(self) -> bool:
        return len(self.found.items) >= self.params.limit

    def by_name(self) -> None:
        glob = split_glob(self.params.glob) if self.params.glob else ("**",)
        done = self.mark.names
        walk = Walk(self.sandbox, self.budget, MAX_DEPTH, frozenset(self.params.exclude))
        for visit in walk.run(self.start, self.mark.names):
            names = visit.location.below(self.start)
            if self.pattern is None and names == done:
                continue
            if self.full():
                self.found.next_cursor = self._cursor()
                return
            if names != self.mark.names:
                self.mark = _Mark(names)
            status = status_of(visit.entry) if glob_matches(glob, names) else None
            if status is not None:
                self._visit(visit.location, visit.folder, kind_of(status.st_mode))
            if self.budget.stopped_by:
                break
        self._end()

    def in_file(self) -> None:
        """Search `start` itself."""
        with self.sandbox.file(self.start) as file:
            self._lines(file)
        self._end()

    def _visit(self, location: Location, folder: int, kind: str) -> None:
        if self.pattern is None:
            self.found.items.append(Match(path=str(location), kind=kind))
        elif kind == "file":
            self._open(location, folder)

    def _open(self, location: Location, folder: int) -> None:
        try:
            with self.sandbox.file_in(folder, location) as file:
                self._lines(file)
        except PlatformError:
            self.found.skipped += 1

    def _lines(self, file: OpenFile) -> None:
        """Append the matching lines after the mark, as many as the page takes, and move the mark behind the last."""
        for window in windows(file, self.budget, offset=self.mark.offset, first_line=self.mark.line):
            if b"\0" in window.data[:8_192]:
                self.found.skipped += 1
                return
            self.mark = _Mark(self.mark.names, window.first_line, window.offset)
            for match, end in _matches(self.pattern, window, file.location, self.params.context):
                if self.full():
                    return
                self.found.items.append(match)
                self.mark = _Mark(self.mark.names, (match.line or 0) + 1, window.offset + end)
        self.found.files_searched += self.budget.stopped_by is None

    def _end(self) -> None:
        self.found.stopped_by = self.budget.stopped_by
        if self.budget.stopped_by or self.full():
            self.found.next_cursor = self._cursor()

    def _cursor(self) -> str:
        return write_cursor(self.mark.line, self.mark.offset, *self.mark.names)


async def search(client: Filesystem, params: SearchParams) -> Matches:
    """Find files by name (`glob`) or lines in text files by exact `text` or RE2 `regex`, below a folder or in one
    file. A page may be short or empty while `next_cursor` is given: go on with it."""
    return await client.run(partial(_run, params))


def _run(params: SearchParams, sandbox: Sandbox, budget: Budget) -> Matches:
    pattern = _compile(params)
    start = sandbox.locate(params.path)
    mark = _read_mark(params.cursor, start, sandbox) if params.cursor is not None else _Mark()
    search = _Search(params, sandbox, budget, start, pattern, mark)
    if kind_of(sandbox.status(start).st_mode) == "folder":
        if pattern is None and params.glob is None:
            raise InvalidInput("say what to find: glob, text or regex")
        search.by_name()
    elif pattern is None:
        raise InvalidInput(f"{start} is no folder: say with text or regex what to find in it")
    else:
        search.in_file()
    return search.found


def _compile(params: SearchParams) -> Pattern | None:
    """The pattern asked for; raises `InvalidInput` when both are given, or RE2 cannot take it."""
    if params.text is not None and params.regex is not None:
        raise InvalidInput("text and regex exclude each other; give one")
    wanted = params.text if params.text is not None else params.regex
    if wanted is None:
        return None
    if "\n" in wanted:
        raise InvalidInput(
            "a match lies within one line; take one line of the text, and context for those around"
        )
    options = re2.Options()
    options.log_errors = False
    options.never_nl = True
    options.max_mem = _PATTERN_MEMORY
    options.case_sensitive = not params.ignore_case
    options.literal = params.text is not None
    try:
        return re2.compile(wanted.encode() if options.literal else b"(?m)" + wanted.encode(), options)
    except UnicodeEncodeError:
        raise InvalidInput("text and regex must be valid Unicode") from None
    except re2.error as error:
        said = error.args[0].decode("utf-8", "replace") if error.args else "refused"
        raise InvalidInput(f"regex is not an RE2 pattern: {said}") from None


def _matches(
    pattern: Pattern, window: Window, location: Location, context: int
) -> Iterator[tuple[Match, int]]:
    """The first match of each line, with where in the window the next line begins.

    Lines around a match are shown only as far as the window holds them.
    """
    data, position, line, counted = window.data, 0, window.first_line, 0
    while position < len(data) and (found := pattern.search(data, position)) is not None:
        start = data.rfind(b"\n", 0, found.start()) + 1
        if start == len(data):
            return  # an empty match behind the last line
        end = data.find(b"\n", found.start()) + 1 or len(data) + 1
        line += data.count(b"\n", counted, start)
        counted = start
        match = Match(
            path=str(location), line=line, text=_excerpt(data[start : end - 1], found.start() - start)
        )
        if context:
            match.before = _around(data[max(start - _AROUND, 0) : start])[-context:]
            match.after = _around(data[end : end + _AROUND])[:context]
        yield match, end
        position = end


def _around(data: bytes) -> list[str]:
    return [_excerpt(line, 0) for line in data.removesuffix(b"\n").split(b"\n")] if data else []


def _excerpt(line: bytes, at: int) -> str:
    line = line.removesuffix(b"\r")
    start = max(at - MAX_SHOWN // 3, 0) if len(line) > MAX_SHOWN else 0
    piece = line[start : start + MAX_SHOWN].decode("utf-8", "replace")
    return ("…" if start else "") + piece + ("…" if start + MAX_SHOWN < len(line) else "")


def _read_mark(cursor: str, start: Location, sandbox: Sandbox) -> _Mark:
    match read_cursor(cursor):
        case [int(line), int(offset), *names] if line > 0 and 0 <= offset < 2**62:
            return _Mark(read_names(names, start, sandbox), line, offset)
        case _:
            raise bad_cursor()

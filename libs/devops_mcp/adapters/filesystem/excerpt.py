"""Some lines of a text, within a number of bytes."""

import os
from dataclasses import dataclass

from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import OpenFile, translated
from devops_mcp.adapters.filesystem.text import decode_lossy, windows
from devops_mcp.models.errors import PayloadTooLarge

MAX_LINE = 4_000
"""Characters of one line that are shown."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: `limit` from line `offset` on, or the last `tail`."""

    limit: int
    offset: int = 1
    tail: int | None = None
    numbered: bool = False


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a text. Numbers are None where they are not known without reading all of a large file."""

    text: str
    first_line: int | None
    last_line: int | None
    total_lines: int | None = None
    next_offset: int | None = None
    newline: str | None = None
    cut_lines: int = 0
    lossy: bool = False


class _Page:
    """Collects lines until they are enough."""

    def __init__(self, wanted: Wanted, max_bytes: int) -> None:
        self._wanted = wanted
        self._left = max_bytes
        self.lines: list[str] = []
        self.cut = 0

    def add(self, line: str, number: int | None) -> bool:
        """Take a line; False when there is no room left for it."""
        line = line.removesuffix("\r")
        shown = line[:MAX_LINE]
        if len(line) > MAX_LINE:
            shown += f"… [+{len(line) - MAX_LINE} characters]"
        if self._wanted.numbered and number is not None:
            shown = f"{number}\t{shown}"
        size = len(shown.encode("utf-8", "replace")) + 1
        if size > self._left and self.lines:
            return False
        self._left -= size
        self.cut += len(line) > MAX_LINE
        self.lines.append(shown)
        return True


def cut_whole(text: str, wanted: Wanted, max_bytes: int) -> Excerpt:
    """The wanted lines of a text held in memory."""
    lines = _split(text)
    first = max(len(lines) - wanted.tail + 1, 1) if wanted.tail else wanted.offset
    count = wanted.tail or wanted.limit
    page = _Page(wanted, max_bytes)
    for number, line in enumerate(lines[first - 1 : first - 1 + count], start=first):
        if not page.add(line, number):
            break
    last = first - 1 + len(page.lines)
    return Excerpt(
        text="\n".join(page.lines),
        first_line=first if page.lines else None,
        last_line=last if page.lines else None,
        total_lines=len(lines),
        next_offset=last + 1 if page.lines and last < len(lines) else None,
        newline=newline_of(text),
        cut_lines=page.cut,
    )


def stream_head(file: OpenFile, wanted: Wanted, max_bytes: int, budget: Budget) -> Excerpt:
    """The wanted lines from `offset` on of a UTF-8 file too large to hold.

    Raises `PayloadTooLarge` when `offset` lies beyond what one call may read through.
    """
    page = _Page(wanted, max_bytes)
    seen, lossy, cut, newline = 0, False, 0, None
    for window in windows(file, budget):
        lines = window.data.split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        seen = window.first_line + len(lines) - 1
        newline = newline or newline_of(window.data.decode("utf-8", "replace"))
        for number, raw in enumerate(lines, start=window.first_line):
            if number < wanted.offset:
                continue
            line, broken = decode_lossy(raw, "utf-8-sig" if number == 1 else "utf-8")
            if len(page.lines) == wanted.limit or not page.add(line, number):
                return _streamed(page, wanted, newline, lossy, cut)
            lossy = lossy or broken
        cut += window.cut
    if budget.stopped_by and not page.lines:
        raise PayloadTooLarge(
            f"line {wanted.offset} of {file.location} is beyond line {seen}, where this call stopped; use tail or fs_search"
        )
    return _streamed(page, wanted, newline, lossy, cut, total=None if budget.stopped_by else seen)


def stream_tail(file: OpenFile, wanted: Wanted, max_bytes: int, budget: Budget) -> Excerpt:
    """The last lines of a UTF-8 file too large to hold, as far as `max_bytes` reach back."""
    budget.require_time()
    start = max(file.stat.st_size - max_bytes, 0)
    with translated(file.location):
        data = os.pread(file.descriptor, max_bytes, start)
    if start:
        data = data[data.find(b"\n") + 1 :]
    text, lossy = decode_lossy(data, "utf-8" if start else "utf-8-sig")
    page = _Page(wanted, 2 * max_bytes)
    for line in _split(text)[-(wanted.tail or 1) :]:
        page.add(line, None)
    return Excerpt(
        "\n".join(page.lines), None, None, newline=newline_of(text), cut_lines=page.cut, lossy=lossy
    )


def newline_of(text: str) -> str | None:
    """How lines end: `lf`, `crlf`, `mixed`, or None where there is one line at most."""
    crlf = text.count("\r\n")
    lf = text.count("\n") - crlf
    if crlf and lf:
        return "mixed"
    return "crlf" if crlf else "lf" if lf else None


def _split(text: str) -> list[str]:
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def _streamed(
    page: _Page, wanted: Wanted, newline: str | None, lossy: bool, cut: int, total: int | None = None
) -> Excerpt:
    last = wanted.offset - 1 + len(page.lines)
    more = bool(page.lines) and (total is None or last < total)
    return Excerpt(
        text="\n".join(page.lines),
        first_line=wanted.offset if page.lines else None,
        last_line=last if page.lines else None,
        total_lines=total,
        next_offset=last + 1 if more else None,
        newline=newline,
        cut_lines=page.cut + cut,
        lossy=lossy,
    )

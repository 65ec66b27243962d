"""Exact-text edits, and the unified diff that follows from where they are: no comparison of whole files, so no quadratic time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from devops_mcp.models.errors import Conflict, InvalidInput

CONTEXT = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Replace the characters from `start` to `end` by `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Block:
    """From line `first` (from 0), the lines `old` become `new`; lines keep their ends."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]


def find_once(text: str, old: str, number: int) -> Span:
    """Where `old` is, `new` still empty; raises `Conflict` unless it is there exactly once."""
    start = text.find(old)
    if start < 0:
        raise Conflict(f"edit {number}: old_text is not in the file; read it again and copy the text exactly")
    if text.find(old, start + 1) >= 0:
        raise Conflict(
            f"edit {number}: old_text is there more than once; take more lines around it, or set replace_all"
        )
    return Span(start, start + len(old), "")


def find_all(text: str, old: str, number: int) -> Iterator[Span]:
    """Every place of `old`, without overlaps; raises `Conflict` when there is none."""
    position = text.find(old)
    if position < 0:
        raise Conflict(f"edit {number}: old_text is not in the file; read it again and copy the text exactly")
    while position >= 0:
        yield Span(position, position + len(old), "")
        position = text.find(old, position + len(old))


def apply_spans(text: str, spans: Sequence[Span]) -> str:
    """`text` with all spans replaced. They are places in the text as it was, in order; raises `InvalidInput` when two overlap."""
    pieces: list[str] = []
    position = 0
    for span in spans:
        if span.start < position:
            raise InvalidInput("two edits change the same text; make them one")
        pieces += (text[position : span.start], span.new)
        position = span.end
    return "".join((*pieces, text[position:]))


def unified_diff(text: str, spans: Sequence[Span], path: str, max_lines: int) -> str:
    """What `spans` do to `text`, as `diff -u` writes it; a diff longer than `max_lines` ends with a mark."""
    lines = _lines(text)
    out = [f"--- a/{path}", f"+++ b/{path}"]
    shift = 0
    for hunk in _hunks(_blocks(text, spans)):
        body, shift = _hunk(lines, hunk, shift)
        out += body
        if len(out) > max_lines:
            return "\n".join((*out[:max_lines], "… [diff is longer]"))
    return "\n".join(out) if len(out) > 2 else ""


def _blocks(text: str, spans: Sequence[Span]) -> Iterator[Block]:
    """Spans widened to whole lines, those that share a line joined, lines that stay the same taken off."""
    line = position = index = 0
    while index < len(spans):
        start = text.rfind("\n", 0, spans[index].start) + 1
        end, last = _line_end(text, spans[index]), index + 1
        while last < len(spans) and spans[last].start < end:
            end, last = max(end, _line_end(text, spans[last])), last + 1
        line += text.count("\n", position, start)
        position = start
        moved = [Span(s.start - start, s.end - start, s.new) for s in spans[index:last]]
        block = _trim(line, _lines(text[start:end]), _lines(apply_spans(text[start:end], moved)))
        if block.old or block.new:
            yield block
        index = last


def _line_end(text: str, span: Span) -> int:
    return text.find("\n", span.end) + 1 or len(text)


def _trim(first: int, old: list[str], new: list[str]) -> Block:
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    return Block(first + head, tuple(old[head : len(old) - tail]), tuple(new[head : len(new) - tail]))


def _hunks(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Blocks whose context would touch, together."""
    group: list[Block] = []
    for block in blocks:
        if group and block.first - (group[-1].first + len(group[-1].old)) > 2 * CONTEXT:
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _hunk(lines: Sequence[str], blocks: Sequence[Block], shift: int) -> tuple[list[str], int]:
    """The lines of a hunk, and by how much line numbers are shifted after it."""
    start = max(blocks[0].first - CONTEXT, 0)
    stop = min(blocks[-1].first + len(blocks[-1].old) + CONTEXT, len(lines))
    grown = sum(len(block.new) - len(block.old) for block in blocks)
    body = [f"@@ -{_range(start, stop - start)} +{_range(start + shift, stop - start + grown)} @@"]
    position = start
    for block in blocks:
        body += (
            _marked(" ", lines[position : block.first]) + _marked("-", block.old) + _marked("+", block.new)
        )
        position = block.first + len(block.old)
    return body + _marked(" ", lines[position:stop]), shift + grown


def _range(first: int, count: int) -> str:
    return f"{first + 1 if count else first},{count}"


def _marked(mark: str, lines: Sequence[str]) -> list[str]:
    out: list[str] = []
    for line in lines:
        out.append(mark + line.removesuffix("\n"))
        if not line.endswith("\n"):
            out.append("\\ No newline at end of file")
    return out


def _lines(text: str) -> list[str]:
    """Lines with their ends; only `\\n` ends one."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])

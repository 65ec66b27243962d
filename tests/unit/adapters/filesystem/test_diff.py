"""The diff says exactly what the edits did: applied to the old text it gives the new one."""

import re

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.adapters.filesystem.diff import Span, apply_spans, unified_diff

NO_END = "\\ No newline at end of file"
HUNK = re.compile(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@")


def patched(text: str, diff: str) -> str:
    """`text` after `diff`, held to every context line, position and count of it."""
    old = text.split("\n")
    new: list[str] = []
    position = 0
    lines = diff.split("\n")[2:] if diff else []
    index = 0
    while index < len(lines):
        header = HUNK.fullmatch(lines[index])
        assert header, lines[index]
        first, count, new_first, new_count = map(int, header.groups())
        start = first - 1 if count else first
        new += old[position:start]
        assert len(new) == (new_first - 1 if new_count else new_first)
        position, index, added = start, index + 1, 0
        while index < len(lines) and not HUNK.fullmatch(lines[index]):
            mark, line = lines[index][:1], lines[index][1:]
            if mark in " -":
                assert old[position] == line
                position += 1
            if mark in " +":
                new.append(line)
                added += 1
            index += 1
        assert (position - start, added) == (count, new_count)
    return "\n".join(new + old[position:])


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(st.text(alphabet="ab\n", max_size=200)) + "\n"
    cuts = sorted(draw(st.lists(st.integers(0, len(text) - 1), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    return text, [Span(start, end, draw(st.text(alphabet="xab\n", max_size=12))) for start, end in pairs]


@given(edits())
def test_a_diff_applied_to_the_old_text_gives_the_new_one(case):
    text, spans = case
    diff = unified_diff(text, spans, "work/a", 10_000)
    assert patched(text, diff) == apply_spans(text, spans)


def test_a_missing_newline_at_the_end_is_said():
    diff = unified_diff("a\nb", [Span(2, 3, "c")], "w/a", 100)
    assert diff.split("\n")[2:] == ["@@ -1,2 +1,2 @@", " a", "-b", NO_END, "+c", NO_END]


def test_no_change_is_no_diff():
    assert unified_diff("a\n", [Span(0, 1, "a")], "w/a", 100) == ""


def test_a_diff_that_is_too_long_ends_with_a_mark():
    text = "x\n" * 1_000
    diff = unified_diff(text, [Span(0, len(text), "y\n" * 1_000)], "w/a", 400)
    assert diff.split("\n")[-1] == "… [diff is longer]"
    assert len(diff.split("\n")) == 401

"""Finding files by name and lines by content, over any number of pages, within bounds."""

import re
import time
from itertools import count

import pytest

from devops_mcp.models.errors import InvalidInput


async def every_page(call, **arguments):
    pages, cursor = [], None
    for _ in range(1_000):
        pages.append(await call("fs_search", **arguments, cursor=cursor))
        if (cursor := pages[-1].next_cursor) is None:
            return pages
    raise AssertionError("the pages never end")


def found(pages):
    return [(match.path, match.line) for page in pages for match in page.items]


async def test_lines_are_found_by_exact_text(call, work):
    (work / "a.py").write_text("x = 1\ny = a.b(*c)\n")
    (work / "b.py").write_text("a_b(*c)\n")
    page = await call("fs_search", path="work", text="a.b(*c)")
    assert [(m.path, m.line, m.text) for m in page.items] == [("work/a.py", 2, "y = a.b(*c)")]
    assert page.files_searched == 2


async def test_lines_are_found_by_pattern_each_once(call, work):
    (work / "a.log").write_text("ERROR 1 ERROR 2\nok\nERROR 3\n\nlast ERROR")
    page = await call("fs_search", path="work", regex=r"^ERROR \d|^last")
    assert [(m.line, m.text) for m in page.items] == [
        (1, "ERROR 1 ERROR 2"),
        (3, "ERROR 3"),
        (5, "last ERROR"),
    ]


async def test_a_match_never_spans_lines(call, work):
    (work / "a").write_text("foo\nbar\nfoo bar\n")
    for regex in (r"foo\sbar", r"(?s)foo.bar", r"foo[^x]bar"):
        page = await call("fs_search", path="work", regex=regex)
        assert [m.line for m in page.items] == [3]


@pytest.mark.parametrize("regex", ["^$", "x*", "$", "^"])
async def test_an_empty_match_finds_its_line_once(call, work, regex):
    (work / "a").write_text("one\n\nthree\n")
    page = await call("fs_search", path="work", regex=regex)
    assert [m.line for m in page.items] == ([2] if regex == "^$" else [1, 2, 3])


async def test_case_glob_context_and_a_single_file(call, work):
    (work / "a.py").write_text("one\ntwo\nNeedle\nfour\nfive\n")
    (work / "a.md").write_text("needle\n")
    page = await call("fs_search", path="work", text="needle", ignore_case=True, glob="*.py", context=1)
    assert [(m.path, m.line, m.before, m.after) for m in page.items] == [("work/a.py", 3, ["two"], ["four"])]
    page = await call("fs_search", path="work/a.md", text="needle")
    assert found([page]) == [("work/a.md", 1)]


async def test_files_are_found_by_name_alone(call, work):
    for name in ("a/x.yaml", "a/b/y.yaml", "a/z.txt"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).touch()
    page = await call("fs_search", path="work/a", glob="**/*.yaml")
    assert [(m.path, m.kind) for m in page.items] == [("work/a/b/y.yaml", "file"), ("work/a/x.yaml", "file")]


async def test_pages_hold_every_match_once_in_the_same_order(connect, work, opener):
    call = connect(opener)
    for name in ("a", "b/c", "b/d", "e"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("".join(f"{'needle' if n % 3 else 'hay'} {n}\n" for n in range(1, 41)))
    expected = [(f"work/{name}", n) for name in ("a", "b/c", "b/d", "e") for n in range(1, 41) if n % 3]
    for limit in (1, 10, 27, 100):
        assert found(await every_page(call, path="work", text="needle", limit=limit)) == expected
        assert found(await every_page(call, path="work/a", text="needle", limit=limit)) == expected[:27]
    by_name = await every_page(call, path="work", glob="**", limit=1)
    assert [path for path, _ in found(by_name)] == ["work/a", "work/b", "work/b/c", "work/b/d", "work/e"]


async def test_a_file_larger_than_one_call_may_scan_is_searched_over_several(connect, work):
    with (work / "large.log").open("w") as file:
        file.writelines(f"entry {n:07}{' NEEDLE' if n % 100_000 == 0 else ''}\n" for n in range(1, 500_001))
    call = connect(max_scan_bytes=2_097_152)
    pages = await every_page(call, path="work", text="NEEDLE")
    assert found(pages) == [("work/large.log", n) for n in range(100_000, 500_001, 100_000)]
    assert len(pages) > 3
    assert pages[0].stopped_by == "bytes"


async def test_more_entries_than_one_call_may_walk_are_walked_over_several(connect, work):
    for number in range(250):
        (work / f"{number:03}").write_text("needle" if number % 50 == 0 else "hay")
    call = connect(max_entries=100)
    assert len(found(await every_page(call, path="work", text="needle"))) == 5
    assert len(found(await every_page(call, path="work", glob="2*"))) == 50


async def test_a_page_ends_when_the_time_is_up_and_the_next_goes_on(connect, work):
    for folder in "abcdef":
        (work / folder).mkdir()
        for name in "xyz":
            (work / folder / name).write_text("needle\n")
    call = connect(now=count(step=0.5).__next__, timeout_s=10)
    pages = await every_page(call, path="work", text="needle")
    assert found(pages) == [(f"work/{folder}/{name}", 1) for folder in "abcdef" for name in "xyz"]
    assert {page.stopped_by for page in pages} == {"time", None}


async def test_binary_files_are_passed_over_and_counted(call, work):
    (work / "a.bin").write_bytes(b"needle\x00")
    (work / "b.txt").write_bytes(b"caf\xe9 needle")
    page = await call("fs_search", path="work", text="needle")
    assert [(m.path, m.text) for m in page.items] == [("work/b.txt", "caf\ufffd needle")]
    assert page.skipped == 1


async def test_a_long_line_is_shown_around_its_match(call, work):
    (work / "a.min.js").write_text("x" * 10_000 + "needle" + "y" * 10_000)
    (match,) = (await call("fs_search", path="work", text="needle")).items
    assert re.fullmatch(r"…x{100}needley{194}…", match.text)


@pytest.mark.parametrize("regex", ["(?=a)", r"(a)\1", "(", "a)(b", "a{1001}", "((a{100}){100}){100}"])
async def test_a_pattern_that_re2_cannot_take_is_refused(call, work, regex):
    with pytest.raises(InvalidInput, match="regex is not an RE2 pattern"):
        await call("fs_search", path="work", regex=regex)


@pytest.mark.parametrize("regex", ["(a+)+$", "(a|aa)+$", "(.*a){12}x", "(a*)*b"])
async def test_a_catastrophic_pattern_takes_linear_time(call, work, regex):
    (work / "a").write_text("a" * 200_000 + "!\n")
    began = time.monotonic()
    await call("fs_search", path="work", regex=regex)
    assert time.monotonic() - began < 30, "it would take for ever"


async def test_a_search_says_what_it_lacks(call, work):
    (work / "a").write_text("a")
    with pytest.raises(InvalidInput, match="glob, text or regex"):
        await call("fs_search", path="work")
    with pytest.raises(InvalidInput, match="exclude each other"):
        await call("fs_search", path="work", text="a", regex="a")
    with pytest.raises(InvalidInput, match="within one line"):
        await call("fs_search", path="work", text="a\nb")
    with pytest.raises(InvalidInput, match="is no folder"):
        await call("fs_search", path="work/a", glob="*")

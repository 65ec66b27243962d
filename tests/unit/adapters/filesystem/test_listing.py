"""Folders and trees: complete over their pages, whatever they hold."""

import os

import pytest

from devops_mcp.adapters.filesystem.paths import glob_matches, split_glob
from devops_mcp.models.errors import InvalidInput


async def every_page(call, name, **arguments):
    items, cursor = [], None
    for _ in range(1_000):
        page = await call(name, **arguments, cursor=cursor)
        items += page.items
        if (cursor := page.next_cursor) is None:
            return items
    raise AssertionError("the pages never end")


async def test_without_a_path_the_roots_are_listed(connect, work):
    call = connect(roots={"b": work, "a": work})
    page = await call("fs_list")
    assert [entry.path for entry in page.items] == ["a", "b"]


async def test_a_folder_is_listed_by_name_with_kinds(call, work):
    (work / "b.txt").write_text("12345")
    (work / "a").mkdir()
    (work / "c").symlink_to("b.txt")
    page = await call("fs_list", path="work")
    assert [(e.path, e.kind, e.size_bytes) for e in page.items] == [
        ("work/a", "folder", None),
        ("work/b.txt", "file", 5),
        ("work/c", "symlink", None),
    ]
    assert (page.total, page.next_cursor) == (3, None)


@pytest.mark.parametrize("sort", ["name", "modified", "size"])
async def test_pages_of_a_folder_hold_every_entry_once_in_order(call, work, sort):
    for number in range(57):
        path = work / f"{number:03}"
        path.write_text("x" * (number % 5))
        os.utime(path, (0, 1_000_000 + number % 7))
    whole = await call("fs_list", path="work", sort=sort, limit=100)
    paged = await every_page(call, "fs_list", path="work", sort=sort, limit=10)
    assert paged == whole.items
    assert len(paged) == whole.total == 57
    if sort == "modified":
        assert [e.modified for e in paged] == sorted((e.modified for e in paged), reverse=True)
    if sort == "size":
        assert [e.size_bytes for e in paged] == sorted((e.size_bytes for e in paged), reverse=True)


async def test_a_cursor_of_one_order_is_refused_in_another(call, work):
    for name in "abc":
        (work / name).touch()
    page = await call("fs_list", path="work", limit=1)
    with pytest.raises(InvalidInput, match="cursor"):
        await call("fs_list", path="work", limit=1, sort="size", cursor=page.next_cursor)


async def test_names_that_are_no_text_are_shown_escaped_and_listed_over_pages(call, work):
    for name in (b"\xff\xfe", b"line\nbreak", b"\x1b[31m", "grün".encode()):
        (work / os.fsdecode(name)).touch()
    entries = await every_page(call, "fs_list", path="work", limit=1)
    assert sorted(e.path for e in entries) == [
        "work/\\x1b[31m", "work/\\xff\\xfe", "work/grün", "work/line\\nbreak",
    ]  # fmt: skip
    assert len(await every_page(call, "fs_tree", path="work", limit=1)) == 4


def build(work, depth=3, width=3):
    """A tree of folders 0, 1, 2, … with a file in each."""
    (work / "file.txt").write_text("needle\n")
    if depth:
        for number in range(width):
            (work / str(number)).mkdir()
            build(work / str(number), depth - 1, width)


async def test_a_tree_stands_in_order_with_folders_before_their_content(call, work):
    build(work, depth=1, width=2)
    page = await call("fs_tree", path="work")
    assert [e.path for e in page.items] == [
        "work/0", "work/0/file.txt", "work/1", "work/1/file.txt", "work/file.txt",
    ]  # fmt: skip
    assert page.next_cursor is None


async def test_pages_of_a_tree_hold_every_entry_once(connect, work, opener):
    build(work)
    call = connect(opener)
    expected = sorted(str(p.relative_to(work.parent)).split("/") for p in work.rglob("*"))
    for limit in (1, 7, 100):
        paged = await every_page(call, "fs_tree", path="work", depth=32, limit=limit)
        assert [e.path.split("/") for e in paged] == expected


async def test_a_tree_ends_at_its_depth_and_before_excluded_folders(call, work):
    (work / "a" / "b" / "c").mkdir(parents=True)
    (work / "node_modules" / "x").mkdir(parents=True)
    page = await call("fs_tree", path="work", depth=2)
    assert [e.path for e in page.items] == ["work/a", "work/a/b", "work/node_modules"]


async def test_a_tree_larger_than_the_budget_goes_on_where_it_stopped(connect, work):
    for number in range(350):
        (work / f"{number:03}").touch()
    call = connect(max_entries=100)
    page = await call("fs_tree", path="work", limit=100)
    assert (len(page.items), page.stopped_by) == (100, "entries")
    assert len(await every_page(call, "fs_tree", path="work", limit=100)) == 350


async def test_links_in_a_tree_are_shown_and_not_entered(call, work):
    (work / "loop").symlink_to(work)
    page = await call("fs_tree", path="work", depth=32)
    assert [(e.path, e.kind) for e in page.items] == [("work/loop", "symlink")]


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "x/y/a.py", True),
        ("/*.py", "x/a.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/x/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("src/**", "src/x/y", True),
        ("**/x/**", "a/x/b", True),
        ("**/x/**", "a/b", False),
        ("a?c", "abc", True),
        ("[ab].txt", "c.txt", False),
    ],
)
def test_globs(glob, path, matches):
    assert glob_matches(split_glob(glob), path.split("/")) is matches


def test_a_glob_of_many_stars_takes_no_time():
    assert not glob_matches(split_glob("**/a" * 100 + "/b"), ["a"] * 1_000)
    assert not glob_matches(split_glob("*a" * 100 + "b"), ["a" * 255])

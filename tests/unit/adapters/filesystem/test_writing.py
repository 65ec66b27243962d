"""Writes: whole or not at all, never over something unseen, and said before they are done."""

import asyncio
import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from devops_mcp.adapters.filesystem import writing
from devops_mcp.models.errors import Conflict, DeadlineExceeded, InvalidInput, NotFound, PayloadTooLarge


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def test_a_new_file_is_created(call, work):
    result = await call("fs_write", path="work/a.txt", content="grün\n")
    assert (work / "a.txt").read_text() == "grün\n"
    assert (work / "a.txt").stat().st_mode & 0o777 == 0o644
    assert (result.created, result.changed, result.size_bytes, result.sha256) == (
        True,
        True,
        6,
        sha256("grün\n"),
    )


async def test_what_is_there_is_replaced_only_when_seen_or_told_to(call, work):
    (work / "a.txt").write_text("old")
    with pytest.raises(Conflict, match="read it, then pass its sha256"):
        await call("fs_write", path="work/a.txt", content="new")
    with pytest.raises(Conflict, match="changed since it was read"):
        await call("fs_write", path="work/a.txt", content="new", expected_sha256=sha256("older"))
    assert (work / "a.txt").read_text() == "old"
    seen = await call("fs_read", path="work/a.txt")
    await call("fs_write", path="work/a.txt", content="new", expected_sha256=seen.sha256)
    assert (work / "a.txt").read_text() == "new"
    await call("fs_write", path="work/a.txt", content="newer", overwrite=True)
    assert (work / "a.txt").read_text() == "newer"


async def test_writing_the_same_again_is_no_conflict_and_no_change(call, work):
    await call("fs_write", path="work/a.txt", content="x")
    before = (work / "a.txt").stat()
    again = await call("fs_write", path="work/a.txt", content="x")
    assert (again.changed, again.created) == (False, False)
    assert (work / "a.txt").stat() == before


async def test_a_dry_run_of_a_write_says_what_would_be_done(call, work):
    (work / "b.txt").write_text("old")
    created = await call("fs_write", path="work/a.txt", content="x", dry_run=True)
    replaced = await call("fs_write", path="work/b.txt", content="x", overwrite=True, dry_run=True)
    assert created.done == "created work/a.txt, 1 bytes"
    assert replaced.done == "replaced work/b.txt, 3 bytes by 1"
    assert created.dry_run
    assert names(work) == ["b.txt"]
    assert (work / "b.txt").read_text() == "old"


async def test_a_guard_on_a_file_that_is_gone_is_a_conflict(call):
    with pytest.raises(Conflict, match="does not exist any more"):
        await call("fs_write", path="work/a.txt", content="x", expected_sha256=sha256("x"))


async def test_a_write_into_a_missing_folder_is_not_found(call):
    with pytest.raises(NotFound):
        await call("fs_write", path="work/no/a.txt", content="x")


async def test_a_replaced_file_keeps_its_mode_without_set_uid(call, work):
    (work / "run.sh").write_text("old")
    (work / "run.sh").chmod(0o4750)
    await call("fs_write", path="work/run.sh", content="new", overwrite=True)
    assert (work / "run.sh").stat().st_mode & 0o7777 == 0o750


async def test_a_reader_never_sees_half_a_write(call, work):
    texts = {"a" * 200_000, "b" * 100_000}
    (work / "a.txt").write_text("a" * 200_000)
    seen = set()

    async def read_until(done: asyncio.Event) -> None:
        while not done.is_set():
            seen.add(await asyncio.to_thread((work / "a.txt").read_text))

    done = asyncio.Event()
    reader = asyncio.create_task(read_until(done))
    for _ in range(30):
        for text in texts:
            await call("fs_write", path="work/a.txt", content=text, overwrite=True)
    done.set()
    await reader
    assert seen <= texts
    assert names(work) == ["a.txt"]


async def test_of_writers_with_the_same_guard_one_wins(call, work):
    (work / "a.txt").write_text("old")
    guard = sha256("old")
    writes = (call("fs_write", path="work/a.txt", content=str(n), expected_sha256=guard) for n in range(20))
    results = await asyncio.gather(*writes, return_exceptions=True)
    won = [result for result in results if not isinstance(result, BaseException)]
    assert len(won) == 1
    assert all(isinstance(result, Conflict) for result in results if result not in won)
    assert sha256((work / "a.txt").read_text()) == won[0].sha256


async def test_of_writers_that_create_the_same_file_one_wins(call, work):
    writes = (call("fs_write", path="work/a.txt", content=str(n)) for n in range(20))
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 19
    assert len(names(work)) == 1


async def test_a_change_by_another_program_before_the_rename_is_a_conflict(call, work, monkeypatch):
    (work / "a.txt").write_text("old")
    synced = os.fsync

    def meanwhile(descriptor: int) -> None:
        synced(descriptor)
        (work / "a.txt").write_text("by another program")

    monkeypatch.setattr(writing.os, "fsync", meanwhile)
    with pytest.raises(Conflict, match="changed by another meanwhile"):
        await call("fs_write", path="work/a.txt", content="new", overwrite=True)
    assert (work / "a.txt").read_text() == "by another program"
    assert names(work) == ["a.txt"]


async def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(call, work, monkeypatch):
    (work / "a.txt").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    with pytest.raises(Exception, match="No space left") as refused:
        await call("fs_write", path="work/a.txt", content="new", overwrite=True)
    assert refused.value.code == "upstream_rejected"
    assert (work / "a.txt").read_text() == "old"
    assert names(work) == ["a.txt"]


async def test_a_lock_held_by_another_process_is_waited_for_within_the_time(connect, work):
    holder = os.open(work, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with pytest.raises(DeadlineExceeded):
            await connect(timeout_s=0.05)("fs_write", path="work/a.txt", content="x")
    finally:
        os.close(holder)
    await connect()("fs_write", path="work/a.txt", content="x")


async def test_a_write_into_a_folder_that_is_a_file_is_refused(call, work):
    (work / "a").write_text("x")
    (work / "folder").mkdir()
    for path in ("work/a/b", "work/folder"):
        with pytest.raises(InvalidInput):
            await call("fs_write", path=path, content="x", overwrite=True)


async def test_half_written_files_cannot_be_named(call, work):
    name = ".devops-mcp-0123456789abcdef.tmp"
    (work / name).write_text("half")
    assert (await call("fs_list", path="work")).items == []
    with pytest.raises(Exception, match="deny pattern"):
        await call("fs_read", path=f"work/{name}")


async def test_edits_replace_exact_text_and_return_the_diff(call, work):
    (work / "a.txt").write_text("".join(f"{n}\n" for n in range(1, 21)))
    edits = [{"old_text": "17\n", "new_text": "seventeen\n"}, {"old_text": "2\n3\n", "new_text": "two\n3\n"}]
    with pytest.raises(Conflict, match="edit 2: old_text is there more than once"):
        await call("fs_edit", path="work/a.txt", edits=[edits[0], {"old_text": "2\n", "new_text": "x"}])
    result = await call("fs_edit", path="work/a.txt", edits=edits)
    assert result.diff == (
        "--- a/work/a.txt\n+++ b/work/a.txt\n"
        "@@ -1,5 +1,5 @@\n 1\n-2\n+two\n 3\n 4\n 5\n"
        "@@ -14,7 +14,7 @@\n 14\n 15\n 16\n-17\n+seventeen\n 18\n 19\n 20"
    )
    assert result.done == "replaced 2 places in work/a.txt"
    assert result.sha256 == sha256((work / "a.txt").read_text())
    assert "two\n3\n" in (work / "a.txt").read_text()


async def test_a_dry_run_of_an_edit_shows_the_diff_and_changes_nothing(call, work):
    (work / "a.txt").write_text("one\n")
    shown = await call(
        "fs_edit", path="work/a.txt", edits=[{"old_text": "one", "new_text": "two"}], dry_run=True
    )
    assert shown.diff.endswith("-one\n+two")
    assert (work / "a.txt").read_text() == "one\n"


async def test_edits_are_made_all_or_none(call, work):
    (work / "a.txt").write_text("one two")
    good = {"old_text": "one", "new_text": "1"}
    for bad, error in (
        ({"old_text": "three", "new_text": "3"}, Conflict),
        ({"old_text": "e t", "new_text": "x"}, InvalidInput),
    ):
        with pytest.raises(error):
            await call("fs_edit", path="work/a.txt", edits=[good, bad])
    with pytest.raises(Conflict, match="changed since"):
        await call("fs_edit", path="work/a.txt", edits=[good], expected_sha256=sha256("x"))
    assert (work / "a.txt").read_text() == "one two"


async def test_replace_all_replaces_every_place(call, work):
    (work / "a.txt").write_text("aXbXc")
    edit = {"old_text": "X", "new_text": "\n", "replace_all": True}
    result = await call("fs_edit", path="work/a.txt", edits=[edit])
    assert (work / "a.txt").read_text() == "a\nb\nc"
    assert result.done == "replaced 2 places in work/a.txt"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"one\r\ntwo\r\n", b"one\r\n2\r\n3\r\n"),
        ("one\ntwo\n".encode("utf-8-sig"), "one\n2\n3\n".encode("utf-8-sig")),
        (b"\xfe\xff" + "one\ntwo\n".encode("utf-16-be"), b"\xfe\xff" + "one\n2\n3\n".encode("utf-16-be")),
        (b"\xff\xfe" + "one\ntwo\n".encode("utf-16-le"), b"\xff\xfe" + "one\n2\n3\n".encode("utf-16-le")),
    ],
)
async def test_an_edit_keeps_encoding_mark_and_line_ends(call, work, before, after):
    (work / "a.txt").write_bytes(before)
    await call("fs_edit", path="work/a.txt", edits=[{"old_text": "one\ntwo\n", "new_text": "one\n2\n3\n"}])
    assert (work / "a.txt").read_bytes() == after


async def test_an_edit_of_named_encoding_stores_in_it_or_refuses(call, work):
    (work / "a.txt").write_bytes("grün".encode("latin-1"))
    edit = {"path": "work/a.txt", "encoding": "latin-1"}
    with pytest.raises(InvalidInput, match="cannot be stored as latin-1"):
        await call("fs_edit", **edit, edits=[{"old_text": "gr", "new_text": "→"}])
    await call("fs_edit", **edit, edits=[{"old_text": "gr", "new_text": "blÜ"}])
    assert (work / "a.txt").read_bytes() == "blÜün".encode("latin-1")


async def test_a_file_never_grows_above_the_limit(connect, work):
    (work / "a.txt").write_text("x" * 1_000)
    call = connect(max_whole_bytes=1_000)
    with pytest.raises(PayloadTooLarge):
        await call("fs_write", path="work/b.txt", content="x" * 1_001)
    with pytest.raises(PayloadTooLarge):
        await call("fs_edit", path="work/a.txt", edits=[{"old_text": "x" * 1_000, "new_text": "y" * 1_001}])
    assert (work / "a.txt").read_text() == "x" * 1_000
    assert names(work) == ["a.txt"]
    await call("fs_write", path="work/b.txt", content="x" * 1_000)


async def test_a_file_above_the_limit_is_not_edited(connect, work):
    (work / "a.txt").write_text("x" * 2_000)
    with pytest.raises(PayloadTooLarge):
        await connect(max_whole_bytes=1_000)(
            "fs_edit", path="work/a.txt", edits=[{"old_text": "x", "new_text": ""}]
        )


async def test_folders_are_made_with_those_above(call, work):
    shown = await call("fs_mkdir", path="work/a/b/c", dry_run=True)
    assert names(work) == []
    made = await call("fs_mkdir", path="work/a/b/c")
    assert shown.made == made.made == ["work/a", "work/a/b", "work/a/b/c"]
    assert (work / "a/b/c").is_dir()
    assert (await call("fs_mkdir", path="work/a/b")).made == []


async def test_a_folder_is_not_made_over_or_below_a_file(call, work):
    (work / "a").write_text("x")
    for path in ("work/a", "work/a/b"):
        with pytest.raises(InvalidInput):
            await call("fs_mkdir", path=path)


async def test_a_move_renames_and_replaces_nothing(call, work):
    (work / "a.txt").write_text("a")
    (work / "b.txt").write_text("b")
    with pytest.raises(Conflict):
        await call("fs_move", source="work/a.txt", destination="work/b.txt")
    (work / "folder").mkdir()
    shown = await call("fs_move", source="work/a.txt", destination="work/folder/c.txt", dry_run=True)
    assert (work / "a.txt").exists()
    moved = await call("fs_move", source="work/a.txt", destination="work/folder/c.txt")
    assert shown.done == moved.done == "moved work/a.txt to work/folder/c.txt"
    assert (work / "folder/c.txt").read_text() == "a"
    assert not (work / "a.txt").exists()


async def test_a_move_stays_in_its_root_and_takes_no_root_along(connect, work, tmp_path):
    (tmp_path / "other").mkdir()
    (work / "a").touch()
    roots = {name: {"path": tmp_path / name, "read_only": False} for name in ("work", "other")}
    call = connect(roots=roots)
    for source, destination in (("work/a", "other/a"), ("work", "work/b"), ("work/a", "work")):
        with pytest.raises((InvalidInput, Conflict)):
            await call("fs_move", source=source, destination=destination)
    assert names(work) == ["a"]

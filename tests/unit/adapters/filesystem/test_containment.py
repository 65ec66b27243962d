"""Nothing outside of a root is reached, whatever the path, the link or the moment."""

import os
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from devops_mcp.adapters.filesystem.beneath import (
    FOLDER,
    best_opener,
    open_by_openat2,
    open_by_walking,
    rename_in_steps,
    rename_without_replacing,
)
from devops_mcp.adapters.filesystem.client import Sandbox, translated
from devops_mcp.adapters.filesystem.config import FilesystemSettings, RootSettings
from devops_mcp.adapters.filesystem.listing import write_cursor
from devops_mcp.adapters.filesystem.paths import Location, parse_location
from devops_mcp.models.errors import Conflict, Forbidden, InvalidInput, NotFound, PlatformError

SECRET = "outside-canary-7421"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text(SECRET)
    return folder


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("work/../outside/secret.txt", InvalidInput),
        ("work/a/../../outside/secret.txt", InvalidInput),
        ("../outside/secret.txt", InvalidInput),
        ("..", InvalidInput),
        ("/etc/passwd", InvalidInput),
        ("//etc/passwd", InvalidInput),
        ("work//etc/passwd", NotFound),
        ("work/%2e%2e/outside/secret.txt", NotFound),
        ("work/..%2foutside%2fsecret.txt", NotFound),
        ("work/..\\outside\\secret.txt", NotFound),
        ("work/%00", NotFound),
        ("work/a\x00b", InvalidInput),
        ("work/a\nb", InvalidInput),
        ("work/\ud800", ValidationError),
        ("work-secret/secret.txt", NotFound),
        ("work/" + "x" * 256, InvalidInput),
        ("work/" + "x/" * 2040 + "x" * 20, ValidationError),
        ("", InvalidInput),
        ("work", InvalidInput),
    ],
)
async def test_a_path_that_leads_elsewhere_is_refused(connect, opener, tmp_path, outside, path, refusal):
    """I17: `..`, absolute, encoded, NUL, control characters, a folder beside the root whose name begins alike."""
    beside = tmp_path / "work-secret"
    beside.mkdir()
    (beside / "secret.txt").write_text(SECRET)
    call = connect(opener)
    with pytest.raises(refusal):
        await call("fs_read", path=path)
    with suppress(PlatformError, ValidationError):  # where it is a name like any other, the file lands inside
        await call("fs_write", path=path, content="x", overwrite=True)
    assert names(tmp_path) == ["outside", "work", "work-secret"]
    assert (beside / "secret.txt").read_text() == (outside / "secret.txt").read_text() == SECRET


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "a", "/", "work", "\x00", "%2e", "\\", "\ud800", "…"]) | st.text()
    )
)
def test_no_path_parses_into_a_name_that_could_leave(pieces):
    """I17."""
    with suppress(InvalidInput, NotFound):
        location = parse_location("work/" + "/".join(pieces), ["work"])
        assert all(part not in ("", ".", "..") and not set("/\0") & set(part) for part in location.parts)
        assert parse_location(str(location), ["work"]) == location


async def test_a_percent_sign_is_part_of_a_name(call, work):
    """I17: nothing is decoded."""
    (work / "%2e%2e").write_text("a plain file")
    assert (await call("fs_read", path="work/%2e%2e")).text == "a plain file"


@pytest.mark.parametrize("names", [("..",), ("a", "..", ".."), ("/etc/passwd",), ("a/../../x",)])
def test_no_opener_trusts_the_names_it_is_given(work, opener, names):
    """I17: the wall holds even if the check of the path in front of it did not."""
    (work / "a").mkdir()
    root = os.open(work, FOLDER)
    try:
        with pytest.raises(OSError, match=r".") as refused:
            os.close(opener(root, names, os.O_RDONLY))
    finally:
        os.close(root)
    assert refused.value.errno


async def test_links_are_not_followed_wherever_they_lead(connect, opener, work, outside):
    """I18: a symbolic link as the last name, on the way, to an inside file, and dangling."""
    (work / "inside.txt").write_text("inside")
    (work / "file").symlink_to(outside / "secret.txt")
    (work / "door").symlink_to(outside)
    (work / "self").symlink_to("inside.txt")
    (work / "dangling").symlink_to("nowhere")
    call = connect(opener)
    for path in ("work/file", "work/self", "work/dangling"):
        with pytest.raises(Forbidden, match="symbolic link"):
            await call("fs_read", path=path)
    for path in ("work/door/secret.txt", "work/door/new.txt"):
        with pytest.raises((Forbidden, InvalidInput)):
            await call("fs_read", path=path)
        with pytest.raises((Forbidden, InvalidInput)):
            await call("fs_write", path=path, content="x", overwrite=True)
    with pytest.raises((Forbidden, InvalidInput)):
        await call("fs_list", path="work/door")
    assert names(outside) == ["secret.txt"]
    assert (await call("fs_info", path="work/file")).kind == "symlink"


async def test_writing_on_a_link_changes_neither_link_nor_target(connect, opener, work, outside):
    """I18."""
    (work / "file").symlink_to(outside / "secret.txt")
    call = connect(opener)
    with pytest.raises(Forbidden):
        await call("fs_write", path="work/file", content="x", overwrite=True)
    with pytest.raises(Forbidden):
        await call("fs_edit", path="work/file", edits=[{"old_text": SECRET, "new_text": "x"}])
    with pytest.raises(Forbidden):
        await call("fs_move", source="work/file", destination="work/other")
    assert (outside / "secret.txt").read_text() == SECRET
    assert (work / "file").is_symlink()


async def test_a_hard_link_is_refused_until_the_operator_allows_it(connect, work, outside):
    """I18: another name of the file may lie outside."""
    (work / "twin").hardlink_to(outside / "secret.txt")
    call = connect()
    with pytest.raises(Forbidden, match="hard links"):
        await call("fs_read", path="work/twin")
    assert (await call("fs_search", path="work", text="canary")).items == []
    with pytest.raises(Forbidden):
        await call("fs_write", path="work/twin", content="x", overwrite=True)
    allowing = connect(roots={"work": RootSettings(path=work, allow_hard_links=True)})
    assert (await allowing("fs_read", path="work/twin")).text == SECRET


async def test_what_is_no_regular_file_is_refused_at_once(connect, opener, work):
    """I17: a FIFO without a writer would hold an ordinary open for ever."""
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(work / "socket"))
        call = connect(opener)
        for name in ("pipe", "socket"):
            with pytest.raises(Forbidden, match="not a regular file"):
                await call("fs_read", path=f"work/{name}")
            with pytest.raises(Forbidden):
                await call("fs_write", path=f"work/{name}", content="x", overwrite=True)


async def test_devices_and_files_of_proc_are_refused(opener):
    """I17: even if an operator's setting got past the check of the settings."""
    settings = FilesystemSettings.model_construct(
        roots={"dev": RootSettings.model_construct(path=Path("/dev"), read_only=True, allow_hard_links=True)},
    )
    sandbox = Sandbox(settings, opener)
    for name in ("null", "zero", "tty"):
        with pytest.raises(Forbidden, match="device"), sandbox.file(sandbox.locate(f"dev/{name}")):
            pass


def test_another_mount_below_a_root_is_not_entered(opener):
    """I18: RESOLVE_NO_XDEV, or the device number."""
    candidates = (("/dev", "shm"), ("/dev", "pts"), ("/dev", "fd"), ("/", "proc"), ("/", "dev"))
    above, name = next(pair for pair in candidates if Path(*pair).is_mount())
    root = os.open(above, FOLDER)
    try:
        with pytest.raises(OSError, match=r"(?i)cross-device"):
            os.close(opener(root, (name,), FOLDER))
    finally:
        os.close(root)


SWAP_FILE = """
import os, sys
door, outside = sys.argv[1:]
print("ready", flush=True)
while True:
    os.symlink(outside, door + ".link"); os.replace(door + ".link", door)
    with open(door + ".file", "w") as file: file.write("inside")
    os.replace(door + ".file", door)
"""
SWAP_FOLDER = """
import os, sys
door, outside = sys.argv[1:]
os.symlink(outside, door + ".link")
print("ready", flush=True)
while True:
    os.rename(door, door + ".folder"); os.rename(door + ".link", door)
    os.rename(door, door + ".link"); os.rename(door + ".folder", door)
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_swapped_in_between_check_and_open_is_never_followed(work, outside, opener, what):
    """I18: 10,000 tries against another process that swaps as fast as it can."""
    sandbox = Sandbox(FilesystemSettings(roots={"work": work}), opener)
    if what == "file":
        (work / "door").write_text("inside")
        path, program, target = "work/door", SWAP_FILE, outside / "secret.txt"
    else:
        (work / "door").mkdir()
        (work / "door" / "secret.txt").write_text("inside")
        path, program, target = "work/door/secret.txt", SWAP_FOLDER, outside
    seen: Counter[str] = Counter()
    with swapping(program, work / "door", target):
        for _ in range(10_000):
            try:
                with sandbox.file(sandbox.locate(path)) as file:
                    seen[os.read(file.descriptor, 100).decode()] += 1
            except PlatformError as error:
                seen[type(error).__name__] += 1
    assert SECRET not in seen
    assert seen["inside"] > 0, "the swap never let a read through: the race was not run"
    assert sum(seen.values()) > seen["inside"], "no read met the link: the race was not run"


async def test_a_write_never_lands_behind_a_folder_swapped_for_a_link(connect, work, outside, opener):
    """I18."""
    (work / "door").mkdir()
    call = connect(opener)
    outcomes: Counter[str] = Counter()
    with swapping(SWAP_FOLDER, work / "door", outside):
        for number in range(1_000):
            try:
                await call("fs_write", path="work/door/new.txt", content=str(number), overwrite=True)
                outcomes["written"] += 1
            except PlatformError as error:
                outcomes[type(error).__name__] += 1
    assert names(outside) == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == SECRET
    assert outcomes["written"] > 0


class swapping:  # noqa: N801 - reads as a verb in `with`
    """Runs a swapping program until the block ends."""

    def __init__(self, program: str, door: Path, target: Path) -> None:
        self._command = [sys.executable, "-c", program, str(door), str(target)]

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __exit__(self, *_: object) -> None:
        assert self._process.poll() is None, "the swapping program died"
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize(
    "path",
    [
        "work/.git/config",
        "work/sub/.GIT/config",
        "work/.env",
        "work/.env.local",
        "work/a/Server.PEM",
        "work/.ssh",
    ],
)
async def test_a_closed_name_is_forbidden_whether_it_exists_or_not(call, work, path):
    with pytest.raises(Forbidden, match="deny pattern"):
        await call("fs_read", path=path)
    with pytest.raises(Forbidden, match="deny pattern"):
        await call("fs_write", path=path, content="x")
    with pytest.raises(Forbidden, match="deny pattern"):
        await call("fs_move", source="work/x", destination=path)


async def test_closed_names_are_in_no_list_and_found_by_no_search(call, work):
    for name in (".git/config", ".env", "key.pem", "open.txt"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text("needle")
    assert [e.path for e in (await call("fs_list", path="work")).items] == ["work/open.txt"]
    assert [e.path for e in (await call("fs_tree", path="work")).items] == ["work/open.txt"]
    assert [m.path for m in (await call("fs_search", path="work", text="needle")).items] == ["work/open.txt"]
    assert [m.path for m in (await call("fs_search", path="work", glob="**")).items] == ["work/open.txt"]


async def test_moving_a_folder_does_not_open_what_is_closed_in_it(connect, work):
    call = connect(deny=["vault"])
    (work / "a" / "vault").mkdir(parents=True)
    (work / "a" / "vault" / "key").write_text(SECRET)
    await call("fs_move", source="work/a", destination="work/b")
    with pytest.raises(Forbidden):
        await call("fs_read", path="work/b/vault/key")


async def test_a_cursor_cannot_lead_where_a_path_cannot(call, work):
    (work / "a").mkdir()
    for names in (("..", "outside"), ("a", ".git"), ("/etc",), ("a/b",), (1,), ("\x00",)):
        with pytest.raises((InvalidInput, Forbidden)):
            await call("fs_tree", path="work", cursor=write_cursor(*names))
        with pytest.raises((InvalidInput, Forbidden)):
            await call("fs_search", path="work", text="x", cursor=write_cursor(1, 0, *names))
    for cursor in ("", "%%%", "bm90IGpzb24=", write_cursor(0, 0), write_cursor(1, -1)):
        with pytest.raises(InvalidInput):
            await call("fs_search", path="work", text="x", cursor=cursor)
        with pytest.raises(InvalidInput):
            await call("fs_list", path="work", cursor=cursor)


def test_linux_is_walled_by_openat2():
    assert best_opener() is (open_by_openat2 if sys.platform == "linux" else open_by_walking)


@pytest.mark.parametrize("rename", [rename_without_replacing, rename_in_steps])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_rename_replaces_nothing(work, rename, kind):
    make = (lambda path: path.write_text("x")) if kind == "file" else (lambda path: path.mkdir())
    make(work / "old")
    make(work / "taken")
    folder = os.open(work, FOLDER)
    try:
        with pytest.raises(FileExistsError):
            rename(folder, "old", folder, "taken")
        rename(folder, "old", folder, "free")
    finally:
        os.close(folder)
    assert names(work) == ["free", "taken"]


async def test_a_root_may_be_reached_by_the_operators_own_link(connect, work, tmp_path):
    (work / "a.txt").write_text("a")
    (tmp_path / "current").symlink_to(work)
    call = connect(roots={"app": tmp_path / "current"})
    assert (await call("fs_read", path="app/a.txt")).text == "a"


async def test_a_folder_is_not_moved_into_itself(call, work):
    (work / "a").mkdir()
    with pytest.raises(InvalidInput):
        await call("fs_move", source="work/a", destination="work/a/b")
    assert (work / "a").is_dir()


async def test_a_read_only_root_takes_no_write(connect, work):
    (work / "a.txt").write_text("a")
    call = connect(roots={"work": work})
    writes = (
        ("fs_write", {"path": "work/a.txt", "content": "b", "overwrite": True}),
        ("fs_edit", {"path": "work/a.txt", "edits": [{"old_text": "a", "new_text": "b"}]}),
        ("fs_mkdir", {"path": "work/new"}),
        ("fs_move", {"source": "work/a.txt", "destination": "work/b.txt"}),
    )
    for name, arguments in writes:
        for dry_run in (False, True):
            with pytest.raises(Forbidden, match="read-only"):
                await call(name, **arguments, dry_run=dry_run)
    assert names(work) == ["a.txt"]
    assert (work / "a.txt").read_text() == "a"


def test_conflict_is_what_a_taken_name_becomes(work):
    (work / "a").mkdir()
    with pytest.raises(Conflict), translated(Location("work")):
        (work / "a").mkdir()

"""What a reader gets of a file: the lines asked for, honest about encoding, size and what was left out."""

import hashlib
import os
from datetime import UTC, datetime

import pytest

from devops_mcp.models.errors import InvalidInput, NotFound

LINES = [f"line {number}" for number in range(1, 1_001)]


async def test_lines_come_from_the_offset_on_and_say_where_to_go_on(call, work):
    (work / "a.txt").write_text("\n".join(LINES) + "\n")
    page = await call("fs_read", path="work/a.txt", offset=401, limit=3)
    assert page.text == "line 401\nline 402\nline 403"
    assert (page.first_line, page.last_line, page.total_lines, page.next_offset) == (401, 403, 1_000, 404)
    assert page.sha256 == hashlib.sha256((work / "a.txt").read_bytes()).hexdigest()
    assert (page.encoding, page.newline, page.path) == ("utf-8", "lf", "work/a.txt")


async def test_pages_joined_are_the_file(call, work):
    (work / "a.txt").write_text("\n".join(LINES))
    lines, offset = [], 1
    while offset:
        page = await call("fs_read", path="work/a.txt", offset=offset, limit=333)
        lines += page.text.split("\n")
        offset = page.next_offset
    assert lines == LINES


async def test_the_tail_is_the_last_lines(call, work):
    (work / "a.txt").write_text("\n".join(LINES) + "\n")
    page = await call("fs_read", path="work/a.txt", tail=2, numbered=True)
    assert page.text == "999\tline 999\n1000\tline 1000"
    assert page.next_offset is None


async def test_an_offset_behind_the_end_gives_no_lines_and_the_number_there_are(call, work):
    (work / "a.txt").write_text("one\n")
    page = await call("fs_read", path="work/a.txt", offset=2)
    assert (page.text, page.first_line, page.total_lines, page.next_offset) == ("", None, 1, None)


async def test_an_empty_file_has_no_lines(call, work):
    (work / "a.txt").touch()
    page = await call("fs_read", path="work/a.txt")
    assert (page.text, page.total_lines, page.size_bytes, page.newline) == ("", 0, 0, None)


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("grün\n".encode(), "utf-8", "grün"),
        ("grün\n".encode("utf-8-sig"), "utf-8-sig", "grün"),
        ("grün\n".encode("utf-16"), "utf-16", "grün"),
        (b"\xfe\xff" + "grün\n".encode("utf-16-be"), "utf-16", "grün"),
        ("grün\n".encode("utf-32"), "utf-32", "grün"),
        (b"plain\r\ntext\r\n", "utf-8", "plain\ntext"),
    ],
)
async def test_text_is_known_by_its_mark_or_by_being_utf8(call, work, data, encoding, text):
    (work / "a.txt").write_bytes(data)
    page = await call("fs_read", path="work/a.txt")
    assert (page.encoding, page.text, page.lossy) == (encoding, text, False)


async def test_another_encoding_is_not_guessed_but_taken_when_named(call, work):
    (work / "a.txt").write_bytes("grün".encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"not UTF-8 text: 4 bytes, text/plain"):
        await call("fs_read", path="work/a.txt")
    assert (await call("fs_read", path="work/a.txt", encoding="latin-1")).text == "grün"
    shown = await call("fs_read", path="work/a.txt", encoding="utf-8")
    assert (shown.text, shown.lossy) == ("gr�n", True)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00", "image/png"),
        ("a", b"\x7fELF\x02\x01\x01\x00", "application/x-elf"),
        ("a.bin", b"\x00\x01", "application/octet-stream"),
        ("a.mp4", b"\x00\x01", "video/mp4"),
    ],
)
async def test_a_binary_file_is_refused_with_size_and_type(call, work, name, data, kind):
    (work / name).write_bytes(data)
    for encoding in ("auto", "latin-1"):
        with pytest.raises(InvalidInput, match=f"{len(data)} bytes, {kind}"):
            await call("fs_read", path=f"work/{name}", encoding=encoding)
    described = await call("fs_info", path=f"work/{name}")
    assert (described.media_type, described.encoding) == (kind, None)


async def test_one_broken_byte_late_in_a_log_does_not_hide_the_rest(call, work):
    (work / "a.log").write_bytes(b"x" * 70_000 + b"\nbroken \xff byte\nlast\n")
    page = await call("fs_read", path="work/a.log", offset=2)
    assert (page.text, page.lossy) == ("broken � byte\nlast", True)


async def test_a_long_line_is_cut_with_a_mark(call, work):
    (work / "a.js").write_text("x" * 5_000 + "\nnext\n")
    page = await call("fs_read", path="work/a.js")
    assert page.text == "x" * 4_000 + "… [+1000 characters]\nnext"
    assert page.cut_lines == 1


async def test_a_page_ends_at_the_bytes_one_call_returns(connect, work):
    (work / "a.txt").write_text("\n".join("y" * 99 for _ in range(100)))
    call = connect(max_read_bytes=1_000)
    page = await call("fs_read", path="work/a.txt")
    assert (page.last_line, page.next_offset) == (10, 11)
    assert len(page.text) <= 1_000


class TestLargeFiles:
    """Files above `max_whole_bytes` are streamed: any size is readable within the call's limits."""

    SIZE = 300_000

    @pytest.fixture
    def large(self, connect, work):
        with (work / "large.log").open("w") as file:
            file.writelines(f"entry {number:06}\n" for number in range(1, self.SIZE + 1))
        return connect(max_whole_bytes=1_000, max_scan_bytes=2_097_152)

    async def test_lines_beyond_the_first_window_have_right_numbers(self, large):
        page = await large("fs_read", path="work/large.log", offset=150_000, limit=2)
        assert page.text == "entry 150000\nentry 150001"
        assert (page.first_line, page.next_offset, page.total_lines, page.sha256) == (
            150_000,
            150_002,
            None,
            None,
        )

    async def test_lines_further_than_a_call_may_scan_are_refused_with_advice(self, large):
        with pytest.raises(
            Exception, match=r"beyond line 16131\d, where this call stopped; use tail"
        ) as refused:
            await large("fs_read", path="work/large.log", offset=200_000)
        assert refused.value.code == "payload_too_large"

    async def test_the_tail_needs_no_scan(self, large):
        page = await large("fs_read", path="work/large.log", tail=2)
        assert page.text == "entry 299999\nentry 300000"
        assert (page.first_line, page.total_lines) == (None, None)

    async def test_the_end_of_a_streamed_file_tells_its_lines(self, connect, work):
        (work / "b.log").write_text("\n".join(LINES))
        page = await connect(max_whole_bytes=1_000)("fs_read", path="work/b.log", offset=999, limit=2)
        assert (page.text, page.total_lines, page.next_offset) == ("line 999\nline 1000", 1_000, None)

    async def test_a_line_longer_than_a_window_is_cut_and_counted_once(self, connect, work):
        (work / "b.log").write_bytes(b"first\n" + b"z" * 2_500_000 + b"\nthird\n")
        page = await connect(max_whole_bytes=1_000)("fs_read", path="work/b.log")
        lines = page.text.split("\n")
        assert (lines[0], lines[2], page.total_lines) == ("first", "third", 3)
        assert lines[1].startswith("zzz")
        assert lines[1].endswith("characters]")


async def test_several_files_are_read_and_failures_named_beside_them(call, work):
    (work / "a.txt").write_text("a")
    (work / "b.png").write_bytes(b"\x89PNG\x00")
    result = await call(
        "fs_read_many", paths=["work/a.txt", "work/b.png", "work/no", "work/.env", "/etc/passwd"]
    )
    assert [file.text for file in result.files] == ["a"]
    assert [(failure.path, failure.code) for failure in result.failed] == [
        ("work/b.png", "invalid_input"),
        ("work/no", "not_found"),
        ("work/.env", "forbidden"),
        ("/etc/passwd", "invalid_input"),
    ]


async def test_several_files_share_the_room_of_one_call(connect, work):
    for name in "abc":
        (work / name).write_text("x" * 600)
    result = await connect(max_read_bytes=1_000)("fs_read_many", paths=["work/a", "work/b"])
    assert [file.path for file in result.files] == ["work/a"]
    assert [failure.code for failure in result.failed] == ["payload_too_large"]


async def test_info_describes_a_file_without_its_content(call, work):
    (work / "a.txt").write_text("hello")
    os.utime(work / "a.txt", (0, 1_700_000_000))
    (work / "a.txt").chmod(0o640)
    described = await call("fs_info", path="work/a.txt")
    assert described.model_dump(exclude={"truncated"}) == {
        "path": "work/a.txt",
        "kind": "file",
        "size_bytes": 5,
        "modified": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "mode": "-rw-r-----",
        "writable": True,
        "hard_links": 1,
        "encoding": "utf-8",
        "media_type": "text/plain",
        "sha256": hashlib.sha256(b"hello").hexdigest(),
    }


async def test_info_describes_what_cannot_be_read(call, work):
    os.mkfifo(work / "pipe")
    (work / "a.txt").write_text("a")
    (work / "twin").hardlink_to(work / "a.txt")
    assert (await call("fs_info", path="work/pipe")).kind == "fifo"
    assert (await call("fs_info", path="work")).kind == "folder"
    twin = await call("fs_info", path="work/twin")
    assert (twin.hard_links, twin.sha256) == (2, None)


async def test_a_missing_file_and_a_folder_say_what_to_do(call, work):
    with pytest.raises(NotFound, match="list its folder with fs_list"):
        await call("fs_read", path="work/none.txt")
    (work / "folder").mkdir()
    with pytest.raises(InvalidInput, match="list it with fs_list"):
        await call("fs_read", path="work/folder")

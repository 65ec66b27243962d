"""Bytes as text, without guessing: what is not clearly text is refused with its size and type."""

import codecs
import hashlib
import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import OpenFile, translated
from devops_mcp.adapters.filesystem.paths import Location
from devops_mcp.models.errors import InvalidInput, PayloadTooLarge

Encoding: TypeAlias = Literal[
    "auto",
    "utf-8",
    "utf-16-le",
    "utf-16-be",
    "latin-1",
    "cp1252",
    "cp1251",
    "koi8-r",
    "shift_jis",
    "euc_jp",
    "gb18030",
    "big5",
    "euc_kr",
]

SAMPLE_BYTES = 65_536
WINDOW_BYTES = 1_048_576
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_MAGIC = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"BZh", "application/x-bzip2"),
    (b"\x7fELF", "application/x-elf"),
    (b"\xca\xfe\xba\xbe", "application/java-vm or Mach-O"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-o"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"\x00asm", "application/wasm"),
)


@dataclass(frozen=True, slots=True)
class Window:
    """Whole lines of a file: the first one's number (from 1), the byte where it begins, and the bytes.

    `cut` when the last line went on beyond a window; the rest of it is left out.
    """

    first_line: int
    offset: int
    data: bytes
    cut: bool = False


def detect_encoding(sample: bytes, *, whole: bool) -> str | None:
    """The encoding that a byte order mark names, or UTF-8 where the bytes are that and hold no NUL; else None."""
    for mark, encoding, _ in _MARKS:
        if sample.startswith(mark):
            return encoding
    if b"\x00" in sample:
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return None
    return "utf-8"


def media_type(sample: bytes, name: str) -> str:
    """What a file is by its first bytes, else by its name."""
    for magic, kind in _MAGIC:
        if sample.startswith(magic):
            return kind
    return mimetypes.guess_type(name)[0] or "application/octet-stream"


def require_encoding(file: OpenFile, sample: bytes, wanted: Encoding) -> str:
    """The encoding to read `file` with; raises `InvalidInput` for what is not text."""
    detected = detect_encoding(sample, whole=file.stat.st_size <= len(sample))
    if detected is not None and (wanted == "auto" or wanted in detected):
        return detected
    if wanted == "auto" or (b"\x00" in sample and not wanted.startswith("utf-16")):
        size, kind = file.stat.st_size, media_type(sample, file.location.name)
        raise InvalidInput(
            f"{file.location} is not UTF-8 text: {size} bytes, {kind}; if it is text, name its encoding "
            "('utf-8' shows U+FFFD for what does not fit)"
        )
    return wanted


def decode(data: bytes, encoding: str, location: Location) -> str:
    """The text of a whole file; raises `InvalidInput` at the first byte that does not fit."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{location} is not {encoding}: byte {error.start} does not fit") from None


def encode(text: str, encoding: str, before: bytes = b"") -> bytes:
    """The bytes of a text, with the byte order mark that stood `before`; raises `InvalidInput` for what cannot be stored."""
    mark, codec = next(
        ((mark, codec) for mark, _, codec in _MARKS if before.startswith(mark)), (b"", encoding)
    )
    try:
        return mark + text.encode(codec)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"character {error.start} of the text cannot be stored as {encoding}") from None


def decode_lossy(data: bytes, encoding: str) -> tuple[str, bool]:
    """The text of some bytes, and whether U+FFFD stands for some that do not fit."""
    try:
        return data.decode(encoding), False
    except UnicodeDecodeError:
        return data.decode(encoding, "replace"), True


def read_sample(file: OpenFile) -> bytes:
    with translated(file.location):
        return os.pread(file.descriptor, SAMPLE_BYTES, 0)


def read_whole(file: OpenFile, limit: int, budget: Budget) -> bytes:
    """All bytes of a file; raises `PayloadTooLarge` above `limit`, also when it grows meanwhile."""
    pieces: list[bytes] = []
    size = 0
    while piece := _pread(file, size, min(WINDOW_BYTES, limit + 1 - size)):
        size += len(piece)
        budget.require_time()
        if size > limit:
            raise PayloadTooLarge(
                f"{file.location} has {max(file.stat.st_size, size)} bytes, over {limit}; take lines of it with fs_read or fs_search"
            )
        pieces.append(piece)
    return b"".join(pieces)


def digest(file: OpenFile, budget: Budget) -> str:
    """SHA-256 of a file in hex; raises `PayloadTooLarge` when it is beyond what one call may scan."""
    sha256 = hashlib.sha256()
    offset = 0
    while piece := _pread(file, offset, WINDOW_BYTES):
        if not budget.take_bytes(len(piece)):
            budget.require_time()
            raise PayloadTooLarge(
                f"{file.location} has {file.stat.st_size} bytes, too many to compare; move it away first"
            )
        sha256.update(piece)
        offset += len(piece)
    return sha256.hexdigest()


def windows(file: OpenFile, budget: Budget, *, offset: int = 0, first_line: int = 1) -> Iterator[Window]:
    """The file in pieces of whole lines from `offset` on, until its end or the budget's.

    A line longer than a window is given up to there and marked; line numbers stay right.
    """
    line, inside_long = first_line, False
    while data := _pread(file, offset, WINDOW_BYTES):
        if not budget.take_bytes(len(data)):
            return
        end = data.rfind(b"\n") + 1
        if inside_long:
            start = data.find(b"\n") + 1
            offset += start or len(data)
            if start:
                inside_long, line = False, line + 1
            continue
        at_end = len(data) < WINDOW_BYTES
        inside_long = not end and not at_end
        piece = data if at_end or inside_long else data[:end]
        yield Window(line, offset, piece, cut=inside_long)
        if at_end:
            return
        line += piece.count(b"\n")
        offset += len(piece)


def _pread(file: OpenFile, offset: int, count: int) -> bytes:
    with translated(file.location):
        return os.pread(file.descriptor, count, offset)

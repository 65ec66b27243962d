"""`fs_read`, `fs_read_many`, `fs_info`."""

import hashlib
import stat
from dataclasses import replace
from datetime import datetime
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.base import ReadParams, ToolResult
from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import Filesystem, OpenFile, Sandbox, kind_of
from devops_mcp.adapters.filesystem.excerpt import Excerpt, Wanted, cut_whole, stream_head, stream_tail
from devops_mcp.adapters.filesystem.listing import PATH, modified_at
from devops_mcp.adapters.filesystem.paths import Location
from devops_mcp.adapters.filesystem.text import (
    Encoding,
    decode_lossy,
    detect_encoding,
    digest,
    media_type,
    read_sample,
    read_whole,
    require_encoding,
)
from devops_mcp.models.errors import Forbidden, PayloadTooLarge, PlatformError, UpstreamUnauthorized


class ReadFileParams(ReadParams):
    path: str = Field(max_length=4_096, description=f"File to read, {PATH}")
    offset: int = Field(default=1, ge=1, description="First line, counted from 1.")
    limit: int = Field(default=400, ge=1, le=5_000, description="Most lines to return.")
    tail: int | None = Field(
        default=None, ge=1, le=5_000, description="Instead: this many lines from the end."
    )
    numbered: bool = Field(default=False, description="Put the line number and a tab before each line.")
    encoding: Encoding = Field(default="auto", description="Only for text that is neither UTF-8 nor marked.")


class ReadManyParams(ReadParams):
    paths: tuple[str, ...] = Field(min_length=1, max_length=20, description=f"Files to read, each {PATH}")
    limit: int = Field(default=200, ge=1, le=2_000, description="Most lines of each file.")
    numbered: bool = Field(default=False, description="Put the line number and a tab before each line.")


class InfoParams(ReadParams):
    path: str = Field(max_length=4_096, description=f"File, folder or root, {PATH}")


class FileText(ToolResult):
    """Lines of a file. `sha256` is of the whole file, for a guarded write; absent for files above the limit for whole reads.

    `lossy`: some bytes are shown as U+FFFD. `cut_lines`: lines too long, ended by a mark. Line numbers are null where only the
    end of a large file was read.
    """

    path: str
    text: str
    first_line: int | None
    last_line: int | None
    total_lines: int | None
    next_offset: int | None
    size_bytes: int
    sha256: str | None
    encoding: str
    newline: str | None
    cut_lines: int = 0
    lossy: bool = False


class Failure(BaseModel):
    """Why one of several files was not read."""

    model_config = ConfigDict(extra="forbid")

    path: str
    code: str
    message: str


class FileTexts(ToolResult):
    files: list[FileText]
    failed: list[Failure]


class FileInfo(ToolResult):
    """`encoding` (of text), `media_type` and `sha256` only of files that fs_read may open."""

    path: str
    kind: str
    size_bytes: int | None
    modified: datetime
    mode: str
    """As `ls` writes it."""
    writable: bool
    """Whether the root is open for writing."""
    hard_links: int
    encoding: str | None = None
    media_type: str | None = None
    sha256: str | None = None


async def read(client: Filesystem, params: ReadFileParams) -> FileText:
    """Read lines of one text file, from `offset` on or the last `tail` lines. Go on at `next_offset`; pass `sha256` to fs_write or
    fs_edit as guard. Binary files are refused with size and type."""
    wanted = Wanted(offset=params.offset, limit=params.limit, tail=params.tail, numbered=params.numbered)
    return await client.run(partial(_read, params.path, wanted, params.encoding))


async def read_many(client: Filesystem, params: ReadManyParams) -> FileTexts:
    """Read the first lines of up to 20 text files at once. What could not be read is named in `failed` with the reason."""
    return await client.run(partial(_read_many, params))


async def info(client: Filesystem, params: InfoParams) -> FileInfo:
    """Tell kind, size, time of change, mode, type, encoding and SHA-256 of a file or folder without its content. A symbolic link is
    described, not followed."""
    return await client.run(partial(_info, params.path))


def _read(path: str, wanted: Wanted, encoding: Encoding, sandbox: Sandbox, budget: Budget) -> FileText:
    with sandbox.file(sandbox.locate(path)) as file:
        name = require_encoding(file, read_sample(file), encoding)
        if file.stat.st_size <= sandbox.settings.max_whole_bytes:
            return _from_whole(file, wanted, name, sandbox, budget)
        if name not in ("utf-8", "utf-8-sig"):
            raise PayloadTooLarge(
                f"{file.location} is {name} and {file.stat.st_size} bytes; of large files only UTF-8 is read"
            )
        streamed = stream_tail if wanted.tail else stream_head
        return _shape(file, name, streamed(file, wanted, sandbox.settings.max_read_bytes, budget), None)


def _from_whole(file: OpenFile, wanted: Wanted, encoding: str, sandbox: Sandbox, budget: Budget) -> FileText:
    data = read_whole(file, sandbox.settings.max_whole_bytes, budget)
    text, lossy = decode_lossy(data, encoding)
    excerpt = replace(cut_whole(text, wanted, sandbox.settings.max_read_bytes), lossy=lossy)
    return _shape(file, encoding, excerpt, hashlib.sha256(data).hexdigest(), len(data))


def _shape(
    file: OpenFile, encoding: str, excerpt: Excerpt, sha256: str | None, size: int | None = None
) -> FileText:
    return FileText(
        path=str(file.location),
        text=excerpt.text,
        first_line=excerpt.first_line,
        last_line=excerpt.last_line,
        total_lines=excerpt.total_lines,
        next_offset=excerpt.next_offset,
        size_bytes=file.stat.st_size if size is None else size,
        sha256=sha256,
        encoding=encoding,
        newline=excerpt.newline,
        cut_lines=excerpt.cut_lines,
        lossy=excerpt.lossy,
    )


def _read_many(params: ReadManyParams, sandbox: Sandbox, budget: Budget) -> FileTexts:
    result = FileTexts(files=[], failed=[])
    left = sandbox.settings.max_read_bytes
    wanted = Wanted(limit=params.limit, numbered=params.numbered)
    for path in params.paths:
        try:
            budget.require_time()
            file = _read(path, wanted, "auto", sandbox, budget)
            if (left := left - len(file.text.encode())) < 0:
                raise PayloadTooLarge("the files before it took all the room; ask for it alone")
            result.files.append(file)
        except PlatformError as error:
            result.failed.append(Failure(path=path, code=error.code, message=error.message))
    return result


def _info(path: str, sandbox: Sandbox, budget: Budget) -> FileInfo:
    location = sandbox.locate(path)
    status = sandbox.status(location)
    kind = kind_of(status.st_mode)
    result = FileInfo(
        path=str(location),
        kind=kind,
        size_bytes=status.st_size if kind == "file" else None,
        modified=modified_at(status),
        mode=stat.filemode(status.st_mode),
        writable=not sandbox.root(location).read_only,
        hard_links=status.st_nlink,
    )
    if kind != "file":
        return result
    try:
        return _with_content(result, location, sandbox, budget)
    except (Forbidden, UpstreamUnauthorized):
        return result


def _with_content(result: FileInfo, location: Location, sandbox: Sandbox, budget: Budget) -> FileInfo:
    with sandbox.file(location) as file:
        sample = read_sample(file)
        encoding = detect_encoding(sample, whole=file.stat.st_size <= len(sample))
        kind = "text/plain" if encoding else media_type(sample, location.name)
        small = file.stat.st_size <= sandbox.settings.max_scan_bytes
        return result.model_copy(
            update={
                "encoding": encoding,
                "media_type": kind,
                "sha256": digest(file, budget) if small else None,
            }
        )

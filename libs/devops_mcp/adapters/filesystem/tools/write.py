"""`fs_write`, `fs_edit`, `fs_mkdir`, `fs_move`."""

import hashlib
from dataclasses import replace
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.base import DestructiveParams, WriteParams, WriteResult
from devops_mcp.adapters.filesystem import writing
from devops_mcp.adapters.filesystem.budget import Budget
from devops_mcp.adapters.filesystem.client import Filesystem, OpenFile, Sandbox, kind_of
from devops_mcp.adapters.filesystem.diff import Span, apply_spans, find_all, find_once, unified_diff
from devops_mcp.adapters.filesystem.listing import PATH
from devops_mcp.adapters.filesystem.paths import Location
from devops_mcp.adapters.filesystem.text import (
    Encoding,
    decode,
    digest,
    encode,
    read_sample,
    read_whole,
    require_encoding,
)
from devops_mcp.models.errors import Conflict, Forbidden, InvalidInput, NotFound, PayloadTooLarge

MAX_DIFF_LINES = 400
_SHA256 = r"^[0-9a-f]{64}$"


class WriteFileParams(DestructiveParams):
    path: str = Field(max_length=4_096, description=f"File to write, {PATH} Its folder must exist.")
    content: str = Field(max_length=1_048_576, description="The whole new content; stored as UTF-8.")
    expected_sha256: str | None = Field(
        default=None, pattern=_SHA256, description="Replace the file only if this is still its SHA-256."
    )
    overwrite: bool = Field(default=False, description="Replace whatever is there, seen or not.")


class Edit(BaseModel):
    """One replacement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old_text: str = Field(min_length=1, max_length=100_000, description="Text in the file, exactly, once.")
    new_text: str = Field(max_length=100_000, description="What stands there afterwards.")
    replace_all: bool = Field(default=False, description="Replace every place of old_text.")


class EditFileParams(WriteParams):
    path: str = Field(max_length=4_096, description=f"File to edit, {PATH}")
    edits: tuple[Edit, ...] = Field(
        min_length=1, max_length=50, description="All refer to the file as it is now, and must not overlap."
    )
    expected_sha256: str | None = Field(
        default=None, pattern=_SHA256, description="Edit only if this is still the file's SHA-256."
    )
    encoding: Encoding = Field(default="auto", description="Only for text that is neither UTF-8 nor marked.")


class MakeFolderParams(WriteParams):
    path: str = Field(
        max_length=4_096, description=f"Folder to make, {PATH} Those above it are made as well."
    )


class MoveParams(WriteParams):
    source: str = Field(max_length=4_096, description=f"File or folder, {PATH}")
    destination: str = Field(max_length=4_096, description=f"Its new path, {PATH} Must be free.")


class Written(WriteResult):
    """`changed` is false when the file held this content already. `sha256` is of the new content."""

    path: str
    changed: bool
    created: bool = False
    sha256: str
    size_bytes: int


class Edited(WriteResult):
    """`diff` is unified, at most 400 lines."""

    path: str
    diff: str
    sha256: str


class MadeFolder(WriteResult):
    path: str
    made: list[str]


class Moved(WriteResult):
    path: str


def replaces(params: WriteFileParams) -> bool:
    """Whether the call may replace what is there; without either of these it only creates."""
    return params.overwrite or params.expected_sha256 is not None


async def write(client: Filesystem, params: WriteFileParams) -> Written:
    """Create a text file, or replace one: with `expected_sha256` from fs_read only if it is
    unchanged since, with `overwrite` in any case. For small changes use fs_edit."""
    return await client.run(partial(_write, params))


async def edit(client: Filesystem, params: EditFileParams) -> Edited:
    """Replace exact pieces of a text file and return the unified diff; all edits are made or none. With `dry_run` only the diff."""
    return await client.run(partial(_edit, params))


async def mkdir(client: Filesystem, params: MakeFolderParams) -> MadeFolder:
    """Make a folder, with those above it that are missing. One that exists already is fine."""
    return await client.run(partial(_mkdir, params))


async def move(client: Filesystem, params: MoveParams) -> Moved:
    """Move or rename a file or folder, within one root. Never replaces anything."""
    return await client.run(partial(_move, params))


def _write(params: WriteFileParams, sandbox: Sandbox, budget: Budget) -> Written:
    location, data = sandbox.locate(params.path), encode(params.content, "utf-8")
    _require_room(location, len(data), sandbox)
    result = Written(
        path=str(location),
        dry_run=params.dry_run,
        done="",
        changed=True,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )
    with writing.target(sandbox, location, budget, lock=not params.dry_run) as place:
        if place.present is None:
            return _create(params, place, data, result, budget)
        with sandbox.file_in(place.folder, location) as file:
            return _replace(params, place, file, data, result, budget)


def _create(
    params: WriteFileParams, place: writing.Target, data: bytes, result: Written, budget: Budget
) -> Written:
    if params.expected_sha256:
        raise Conflict(f"{place.location} does not exist any more; leave out expected_sha256 to create it")
    if not params.dry_run:
        writing.write_new(place, data, budget)
    return result.model_copy(update={"created": True, "done": f"created {place.location}, {len(data)} bytes"})


def _replace(
    params: WriteFileParams,
    place: writing.Target,
    file: OpenFile,
    data: bytes,
    result: Written,
    budget: Budget,
) -> Written:
    present = digest(file, budget)
    if present == result.sha256:
        return result.model_copy(
            update={"changed": False, "done": f"{place.location} holds this content already"}
        )
    if params.expected_sha256 is None and not params.overwrite:
        raise Conflict(
            f"{place.location} exists; read it, then pass its sha256 as expected_sha256, or set overwrite"
        )
    _require_unchanged(params.expected_sha256, present, place.location)
    if not params.dry_run:
        writing.write_over(place, file, data, budget)
    return result.model_copy(
        update={"done": f"replaced {place.location}, {file.stat.st_size} bytes by {len(data)}"}
    )


def _edit(params: EditFileParams, sandbox: Sandbox, budget: Budget) -> Edited:
    location = sandbox.locate(params.path)
    with (
        writing.target(sandbox, location, budget, lock=not params.dry_run) as place,
        sandbox.file_in(place.folder, location) as file,
    ):
        encoding = require_encoding(file, read_sample(file), params.encoding)
        before = read_whole(file, sandbox.settings.max_whole_bytes, budget)
        _require_unchanged(params.expected_sha256, hashlib.sha256(before).hexdigest(), location)
        text = decode(before, encoding, location)
        spans = _spans(text, params.edits)
        after = encode(apply_spans(text, spans), encoding, before)
        _require_room(location, len(after), sandbox)
        if not params.dry_run and after != before:
            writing.write_over(place, file, after, budget)
    return Edited(
        path=str(location),
        dry_run=params.dry_run,
        done=f"replaced {len(spans)} {'place' if len(spans) == 1 else 'places'} in {location}",
        diff=unified_diff(text, spans, str(location), MAX_DIFF_LINES),
        sha256=hashlib.sha256(after).hexdigest(),
    )


def _spans(text: str, edits: tuple[Edit, ...]) -> list[Span]:
    """Where the edits apply, in order of place. In a file of CRLF lines, a line feed in an edit stands for CRLF."""
    crlf = "\r\n" in text and text.count("\n") == text.count("\r\n")
    spans: list[Span] = []
    for number, one in enumerate(edits, start=1):
        old, new = (_to_crlf(one.old_text), _to_crlf(one.new_text)) if crlf else (one.old_text, one.new_text)
        places = find_all(text, old, number) if one.replace_all else [find_once(text, old, number)]
        spans += [replace(place, new=new) for place in places]
    return sorted(spans, key=lambda span: span.start)


def _to_crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def _mkdir(params: MakeFolderParams, sandbox: Sandbox, budget: Budget) -> MadeFolder:
    location = sandbox.locate(params.path)
    sandbox.require_writable(location)
    made = _missing(sandbox, location) if params.dry_run else writing.make_folders(sandbox, location)
    done = f"made {', '.join(str(one) for one in made)}" if made else f"{location} exists already"
    return MadeFolder(path=str(location), dry_run=params.dry_run, done=done, made=[str(one) for one in made])


def _missing(sandbox: Sandbox, location: Location) -> list[Location]:
    """The folders that would have to be made, outermost first."""
    missing: list[Location] = []
    here = location
    while True:
        try:
            with sandbox.folder(here):
                return missing[::-1]
        except NotFound:
            if not here.parts:
                raise
            missing.append(here)
            here = here.parent


def _move(params: MoveParams, sandbox: Sandbox, budget: Budget) -> Moved:
    source, destination = sandbox.locate(params.source), sandbox.locate(params.destination)
    sandbox.require_writable(source)
    if source.root != destination.root:
        raise InvalidInput("a move stays within one root; write the file anew in the other")
    kind = kind_of(sandbox.status(source).st_mode)
    if kind not in ("file", "folder"):
        raise Forbidden(f"{source} is a {kind}; only files and folders are moved")
    if _is_there(sandbox, destination):
        raise Conflict(f"{destination} exists already; nothing is replaced by a move")
    if not params.dry_run:
        writing.move(sandbox, source, destination)
    return Moved(path=str(destination), dry_run=params.dry_run, done=f"moved {source} to {destination}")


def _is_there(sandbox: Sandbox, location: Location) -> bool:
    with sandbox.parent(location) as folder:
        try:
            sandbox.look(folder, location)
        except NotFound:
            return False
        return True


def _require_room(location: Location, size: int, sandbox: Sandbox) -> None:
    if size > sandbox.settings.max_whole_bytes:
        raise PayloadTooLarge(
            f"{location} would have {size} bytes; at most {sandbox.settings.max_whole_bytes} are written"
        )


def _require_unchanged(expected: str | None, present: str, location: Location) -> None:
    if expected is not None and expected != present:
        raise Conflict(
            f"{location} was changed since it was read; its sha256 is {present} now; read it again"
        )

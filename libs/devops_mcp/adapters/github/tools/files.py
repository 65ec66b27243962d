"""Reading files and trees: https://docs.github.com/rest/repos/contents and https://docs.github.com/rest/git/trees"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import ListParams, Tool, ToolResult
from devops_mcp.adapters.github.client import RAW, GitHub
from devops_mcp.adapters.github.cursors import decode_cursor, encode_cursor
from devops_mcp.adapters.github.tools.common import FilePath, Ref, RepoArgument
from devops_mcp.adapters.shapes import Shape, read, read_all
from devops_mcp.adapters.upstream import file_path
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid


class FileReadParams(ByAction, RepoArgument, ListParams):
    action: Literal["read", "list", "tree"] = Field(
        default="read", description="A file's text; a folder's entries; all paths beneath a folder."
    )
    path: FilePath | None = Field(default=None, description="From the root, no slash before; read needs it.")
    ref: Ref | None = Field(default=None, description="Branch, tag or commit; default: the default branch.")
    start_line: int | None = Field(default=None, ge=1, description="read.")
    end_line: int | None = Field(default=None, ge=1, description="Inclusive; read.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "read": Takes(needs=("path",), may=("ref", "start_line", "end_line")),
        "list": Takes(may=("path", "ref")),
        "tree": Takes(may=("path", "ref")),
    }


class Entry(Shape):
    """Something in a folder. `kind` is GitHub's word: file, dir, symlink, submodule; in a tree blob, tree, commit."""

    path: str
    kind: str = Field(validation_alias="type")
    size: int | None = None
    sha: str | None = None


class FileText(Shape):
    """A file's text, or the lines asked for; `text` is None for what is not UTF-8."""

    path: str
    sha: str
    size: int
    text: str | None = None
    start_line: int | None = None
    lines_total: int | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class FileRead(ToolResult):
    """The part that was asked for. `incomplete`: GitHub itself left entries out; ask for a folder further down."""

    file: FileText | None = None
    entries: list[Entry] | None = None
    incomplete: bool = False
    next_cursor: str | None = None


async def read_files(github: GitHub, params: FileReadParams) -> FileRead:
    """Read a file of a repository at a branch, tag or commit (whole or some lines), list a folder, or list all paths beneath one (tree)."""
    if params.action == "tree":
        return await _tree(github, params)
    content = await github.json(_contents_path(github, params), {"ref": params.ref})
    if params.action == "list":
        if not isinstance(content, list):
            raise InvalidInput(f"{params.path!r} is a file, not a folder; use action 'read'")
        return _slice(params, read_all(Entry, content))
    if isinstance(content, list):
        raise InvalidInput(f"{params.path!r} is a folder; use action 'list' or 'tree'")
    return FileRead(file=await _file(github, params, content))


def _contents_path(github: GitHub, params: FileReadParams) -> str:
    return github.repo(params.repo, "contents", *file_path(params.path or ""))


async def _file(github: GitHub, params: FileReadParams, raw: dict[str, Any]) -> FileText:
    file = read(FileText, raw)
    body = _decoded(raw)
    if body is None:
        # Above 1 MB GitHub gives no content inside JSON, only raw.
        body = (await github.get(_contents_path(github, params), {"ref": params.ref}, RAW)).body
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        return file
    lines = text.splitlines(keepends=True)
    start = params.start_line or 1
    return file.model_copy(
        update={
            "text": "".join(lines[start - 1 : params.end_line]),
            "start_line": start if params.start_line else None,
            "lines_total": len(lines),
        }
    )


def _decoded(raw: dict[str, Any]) -> bytes | None:
    if raw.get("encoding") != "base64" or not isinstance(raw.get("content"), str):
        return None
    try:
        return b64decode(raw["content"])
    except binascii.Error:
        raise UpstreamInvalid("github's file content is not base64") from None


async def _tree(github: GitHub, params: FileReadParams) -> FileRead:
    path = github.repo(params.repo, "git", "trees", params.ref or "HEAD")
    tree = await github.json(path, {"recursive": "1"})
    entries = read_all(Entry, tree.get("tree") if isinstance(tree, dict) else None)
    prefix = "/".join(file_path(params.path or ""))
    beneath = [entry for entry in entries if not prefix or entry.path.startswith(f"{prefix}/")]
    return _slice(params, beneath, incomplete=bool(tree.get("truncated")))


def _slice(params: FileReadParams, entries: list[Entry], *, incomplete: bool = False) -> FileRead:
    """GitHub does not page folders and trees; we do."""
    offset = decode_cursor(params.cursor).get("offset", "0")
    start = int(offset) if offset.isdigit() else 0
    end = start + params.limit
    more = encode_cursor({"offset": str(end)}) if end < len(entries) else None
    return FileRead(entries=entries[start:end], incomplete=incomplete, next_cursor=more)


TOOLS = (Tool("github_file_read", "Read files and folders", FileReadParams, FileRead, read_files),)

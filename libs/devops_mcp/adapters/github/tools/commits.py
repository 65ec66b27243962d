"""Commits: https://docs.github.com/rest/commits"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal, TypeVar

from pydantic import AliasPath, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import ListParams, Tool, ToolResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.cursors import decode_cursor, next_cursor
from devops_mcp.adapters.github.tools.common import ChangedFile, Commit, FilePath, Ref, RepoArgument
from devops_mcp.adapters.shapes import Shape, Text, read, read_all


class CommitReadParams(ByAction, RepoArgument, ListParams):
    action: Literal["list", "get", "compare"] = Field(default="list", description="What to read.")
    ref: Ref | None = Field(default=None, description="Branch, tag or commit; get (needed), list.")
    path: FilePath | None = Field(default=None, description="Commits that changed this path; list.")
    author: str | None = Field(default=None, max_length=100, description="Login or mail address; list.")
    since: datetime | None = Field(default=None, description="list.")
    until: datetime | None = Field(default=None, description="list.")
    base: Ref | None = Field(default=None, description="Older side; compare.")
    head: Ref | None = Field(default=None, description="Newer side; compare.")
    patches: bool = Field(default=True, description="Show how files changed; get, compare.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "list": Takes(may=("ref", "path", "author", "since", "until")),
        "get": Takes(needs=("ref",), may=("patches",)),
        "compare": Takes(needs=("base", "head"), may=("patches",)),
    }


class CommitDetails(Commit):
    """A commit in full."""

    message: Text = Field(default="", validation_alias=AliasPath("commit", "message"))
    additions: int | None = Field(default=None, validation_alias=AliasPath("stats", "additions"))
    deletions: int | None = Field(default=None, validation_alias=AliasPath("stats", "deletions"))
    files: tuple[ChangedFile, ...] = ()


class Comparison(Shape):
    """What `head` has that `base` has not. GitHub tells at most 300 files."""

    status: str
    ahead_by: int
    behind_by: int
    total_commits: int
    commits: tuple[Commit, ...] = ()
    files: tuple[ChangedFile, ...] = ()
    url: str | None = Field(default=None, validation_alias="html_url")


WithFilesT = TypeVar("WithFilesT", CommitDetails, Comparison)


class CommitRead(ToolResult):
    """The part that was asked for."""

    commits: list[Commit] | None = None
    commit: CommitDetails | None = None
    comparison: Comparison | None = None
    next_cursor: str | None = None


async def read_commits(github: GitHub, params: CommitReadParams) -> CommitRead:
    """Read history: list a branch's or a path's commits, newest first; read one commit with its changes; compare two refs."""
    if params.action == "list":
        return await _list(github, params)
    if params.action == "compare":
        path = github.repo(params.repo, "compare", f"{params.base}...{params.head}")
        comparison, cursor = await _read(github, params, path, Comparison)
        return CommitRead(comparison=comparison, next_cursor=cursor)
    path = github.repo(params.repo, "commits", params.ref or "HEAD")
    commit, cursor = await _read(github, params, path, CommitDetails)
    return CommitRead(commit=commit, next_cursor=cursor)


async def _list(github: GitHub, params: CommitReadParams) -> CommitRead:
    query = {
        "sha": params.ref,
        "path": params.path,
        "author": params.author,
        "since": params.since.isoformat() if params.since else None,
        "until": params.until.isoformat() if params.until else None,
    }
    path = github.repo(params.repo, "commits")
    page = await github.page(path, limit=params.limit, cursor=params.cursor, params=query)
    return CommitRead(commits=read_all(Commit, page.items), next_cursor=page.next_cursor)


async def _read(
    github: GitHub, params: CommitReadParams, path: str, shape: type[WithFilesT]
) -> tuple[WithFilesT, str | None]:
    """One object whose files come in pages."""
    reply = await github.get(path, {"per_page": params.limit, **decode_cursor(params.cursor)})
    found = read(shape, reply.json())
    if not params.patches:
        files = tuple(file.model_copy(update={"patch": None}) for file in found.files)
        found = found.model_copy(update={"files": files})
    return found, next_cursor(reply.headers.get("link"))


TOOLS = (Tool("github_commit_read", "Read history", CommitReadParams, CommitRead, read_commits),)

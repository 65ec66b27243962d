"""Writing files: one by the contents API, several in one commit by the git database API.

https://docs.github.com/rest/repos/contents and https://docs.github.com/rest/git
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import Effect, Risk, Tool, WriteParams, WriteResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.common import (
    Change,
    FilePath,
    Ref,
    RepoArgument,
    Sha,
    given,
    make,
    planned,
)
from devops_mcp.adapters.upstream import file_path
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import UpstreamInvalid, UpstreamRejected

_FILE_MODE = "100644"


class FileContent(BaseModel):
    """A file in a commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FilePath = Field(description="From the root of the repository.")
    text: str | None = Field(
        default=None, max_length=1_000_000, description="The whole new text; null deletes the file."
    )


class FilesWriteParams(ByAction, RepoArgument, WriteParams):
    action: Literal["commit", "put", "delete", "create_branch"] = Field(
        description="commit: several files at once; put: create or replace one; delete: remove one."
    )
    branch: Ref = Field(description="Where the commit goes; for create_branch the new branch.")
    message: str | None = Field(
        default=None, min_length=1, max_length=5_000, description="Of the commit; needed by all three."
    )
    files: tuple[FileContent, ...] | None = Field(
        default=None, min_length=1, max_length=100, description="commit."
    )
    expected_head_sha: Sha | None = Field(
        default=None, description="Only if this is the branch's last commit; commit."
    )
    path: FilePath | None = Field(default=None, description="put, delete.")
    text: str | None = Field(default=None, max_length=1_000_000, description="The whole new text; put.")
    sha: Sha | None = Field(
        default=None,
        description="The file's present sha, from github_file_read: delete, and put that replaces.",
    )
    from_sha: Sha | None = Field(default=None, description="The commit to begin at; create_branch.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "commit": Takes(needs=("message", "files"), may=("expected_head_sha",)),
        "put": Takes(needs=("message", "path", "text"), may=("sha",)),
        "delete": Takes(needs=("message", "path", "sha")),
        "create_branch": Takes(needs=("from_sha",)),
    }


async def write_files(github: GitHub, params: FilesWriteParams) -> WriteResult:
    """Commit files to a branch: several in one commit, or create, replace or delete one; or create the branch first.

    Nothing is overwritten that you have not seen: replacing one file needs its sha, and a commit never moves a branch backwards.
    """
    if params.files is not None:
        return await _commit(github, params, params.files)
    return await make(github, _change(github, params), dry_run=params.dry_run)


def _change(github: GitHub, params: FilesWriteParams) -> Change:
    repo = github.repo_name(params.repo)
    if params.path is None:
        what, body = (
            f"branch {params.branch} in {repo}",
            {"ref": f"refs/heads/{params.branch}", "sha": params.from_sha},
        )
        return Change("POST", github.repo(repo, "git", "refs"), f"create {what}", f"created {what}", {**body})
    target = github.repo(repo, "contents", *file_path(params.path))
    what = f"{params.path} on {params.branch} of {repo}"
    if params.text is None:
        body = {"message": params.message, "sha": params.sha, "branch": params.branch}
        return Change("DELETE", target, f"delete {what}", f"deleted {what}", {**body})
    content = b64encode(params.text.encode()).decode()
    put = given(message=params.message, content=content, sha=params.sha, branch=params.branch)
    return Change("PUT", target, f"write {what}", f"wrote {what}", put)


async def _commit(github: GitHub, params: FilesWriteParams, files: tuple[FileContent, ...]) -> WriteResult:
    """Tree, commit, and then the branch: until the last step nothing is visible, so a failure leaves nothing behind."""
    repo = github.repo_name(params.repo)
    what = f"{len(files)} files to {params.branch} of {repo}: {params.message}"
    tree: list[JsonValue] = [_tree_entry(file) for file in files]
    branch = github.repo(repo, "git", "refs", f"heads/{params.branch}")
    if params.dry_run:
        return planned(f"commit {what}", [Change("PATCH", branch, "", "", {"tree": tree})])
    head = await _head(github, repo, params)
    base = await github.json(github.repo(repo, "git", "commits", head))
    new_tree = await github.send(
        "POST", github.repo(repo, "git", "trees"), {"base_tree": _sha(base, "tree"), "tree": tree}
    )
    body: JsonObject = {"message": params.message, "tree": _sha(new_tree), "parents": [head]}
    commit = await github.send("POST", github.repo(repo, "git", "commits"), body)
    await github.send("PATCH", branch, {"sha": _sha(commit), "force": False})
    return WriteResult(
        done=f"committed {what}", url=commit.get("html_url"), data={"sha": _sha(commit), "parent": head}
    )


async def _head(github: GitHub, repo: str, params: FilesWriteParams) -> str:
    ref = await github.json(github.repo(repo, "git", "ref", f"heads/{params.branch}"))
    head = _sha(ref, "object")
    if params.expected_head_sha not in (None, head):
        raise UpstreamRejected(
            f"{params.branch} of {repo} is at {head}, not at {params.expected_head_sha}; read it again"
        )
    return head


def _tree_entry(file: FileContent) -> JsonObject:
    entry: JsonObject = {"path": "/".join(file_path(file.path)), "mode": _FILE_MODE, "type": "blob"}
    return entry | ({"sha": None} if file.text is None else {"content": file.text})


def _sha(raw: Any, inside: str | None = None) -> str:
    holder = raw.get(inside) if inside is not None and isinstance(raw, dict) else raw
    sha = holder.get("sha") if isinstance(holder, dict) else None
    if not isinstance(sha, str):
        raise UpstreamInvalid("github's answer has no sha")
    return sha


TOOLS = (
    Tool(
        "github_files_write",
        "Commit files",
        FilesWriteParams,
        WriteResult,
        write_files,
        effect=Effect.WRITE,
        risk=Risk.HIGH,
    ),
)

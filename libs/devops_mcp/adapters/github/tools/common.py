"""What GitHub's tools share: arguments, small shapes, and how a change is made or only said."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, Field, JsonValue

from devops_mcp.adapters.base import WriteResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.config import REPO_PATTERN
from devops_mcp.adapters.shapes import Excerpt, FirstLine, Shape, Text
from devops_mcp.models.base import JsonObject

RepoName = Annotated[str, Field(pattern=REPO_PATTERN)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Ref = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f~^:?*\[\\]{1,255}$")]
Number = Annotated[int, Field(ge=1, le=2**53)]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\[\]-]{0,80}$")]
Title = Annotated[str, Field(min_length=1, max_length=256)]
Body = Annotated[str, Field(max_length=65_536)]
FilePath = Annotated[str, Field(min_length=1, max_length=4_096, pattern=r"^[^\x00]*$")]

_PICKED = ("number", "id", "state", "draft", "sha", "merged", "node_id", "path", "name", "ref")


class RepoArgument(BaseModel):
    repo: RepoName | None = Field(default=None, description="`owner/name`; default: the integration's own.")


def _logins(value: Any) -> Any:
    return (
        [v.get("login", "") if isinstance(v, dict) else v for v in value]
        if isinstance(value, list | tuple)
        else []
    )


def _names(value: Any) -> Any:
    return (
        [v.get("name", "") if isinstance(v, dict) else v for v in value]
        if isinstance(value, list | tuple)
        else []
    )


Logins = Annotated[tuple[str, ...], BeforeValidator(_logins)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class Comment(Shape):
    """A comment on an issue, a pull request, or a line of its diff."""

    id: int
    by: str | None = Field(default=None, validation_alias=AliasPath("user", "login"))
    body: Text = ""
    path: str | None = None
    line: int | None = None
    in_reply_to: int | None = Field(default=None, validation_alias="in_reply_to_id")
    created_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class Commit(Shape):
    """A commit in a list."""

    sha: str
    subject: FirstLine = Field(default="", validation_alias=AliasPath("commit", "message"))
    by: str | None = Field(default=None, validation_alias=AliasPath("commit", "author", "name"))
    at: datetime | None = Field(default=None, validation_alias=AliasPath("commit", "author", "date"))
    url: str | None = Field(default=None, validation_alias="html_url")


class ChangedFile(Shape):
    """A file of a commit or a pull request; `patch` is missing for binary and very large ones."""

    path: str = Field(validation_alias="filename")
    status: str = ""
    additions: int = 0
    deletions: int = 0
    previous_path: str | None = Field(default=None, validation_alias="previous_filename")
    patch: str | None = None


class Titled(Shape):
    """What issues and pull requests have in common in a list."""

    number: int
    title: str
    state: str
    by: str | None = Field(default=None, validation_alias=AliasPath("user", "login"))
    labels: Names = ()
    assignees: Logins = ()
    excerpt: Excerpt = Field(default="", validation_alias="body")
    created_at: datetime | None = None
    updated_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


@dataclass(frozen=True, slots=True)
class Change:
    """A request that changes something, and what it does in words: `would` after "would", `did` on its own."""

    method: str
    path: str
    would: str
    did: str
    body: JsonObject | None = None


async def make(github: GitHub, change: Change, *, dry_run: bool) -> WriteResult:
    """Send the change; with `dry_run` say what would be sent, and send nothing."""
    if dry_run:
        return planned(change.would, [change])
    answer = await github.send(change.method, change.path, change.body)
    content: dict[str, Any] = answer if isinstance(answer, dict) else {}
    url = content.get("html_url")
    return WriteResult(
        done=change.did,
        url=url,
        data={name: content[name] for name in _PICKED if content.get(name) is not None},
    )


def planned(would: str, changes: list[Change]) -> WriteResult:
    """The answer to a dry run."""
    requests: list[JsonValue] = [
        {"method": change.method, "path": change.path, "body": change.body} for change in changes
    ]
    return WriteResult(dry_run=True, done=f"would {would}", data={"requests": requests})


def given(**values: JsonValue) -> JsonObject:
    """The values that are not None."""
    return {name: value for name, value in values.items() if value is not None}

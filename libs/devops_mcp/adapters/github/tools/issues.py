"""Issues: https://docs.github.com/rest/issues"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import AliasPath, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import (
    Effect,
    Listing,
    ListParams,
    Tool,
    ToolResult,
    WriteParams,
    WriteResult,
)
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.common import (
    Body,
    Change,
    Comment,
    Login,
    Number,
    RepoArgument,
    Title,
    Titled,
    given,
    make,
)
from devops_mcp.adapters.shapes import Excerpt, Shape, Text, read, read_all
from devops_mcp.models.base import JsonObject

MAX_PAGES = 5
"""How many pages in a row may hold nothing but pull requests before an empty one is given."""


class IssueListParams(RepoArgument, ListParams):
    state: Literal["open", "closed", "all"] = Field(default="open", description="Which of them.")
    labels: tuple[str, ...] = Field(default=(), max_length=20, description="Issues that have all of these.")
    assignee: str | None = Field(default=None, max_length=100, description="Login, `none` or `*`.")
    creator: Login | None = Field(default=None, description="Login of who opened it.")
    milestone: str | None = Field(default=None, max_length=20, description="Its number, `none` or `*`.")
    since: datetime | None = Field(default=None, description="Updated at or after.")
    sort: Literal["created", "updated", "comments"] = Field(default="created", description="Sort by.")
    direction: Literal["asc", "desc"] = Field(default="desc", description="Sort direction.")


class IssueSummary(Titled):
    comments: int = 0


async def list_issues(github: GitHub, params: IssueListParams) -> Listing[IssueSummary]:
    """List a repository's issues, newest first by default, without pull requests. To find issues by words use github_search."""
    query = {
        "state": params.state,
        "labels": ",".join(params.labels) or None,
        "assignee": params.assignee,
        "creator": params.creator,
        "milestone": params.milestone,
        "since": params.since.isoformat() if params.since else None,
        "sort": params.sort,
        "direction": params.direction,
    }
    issues, cursor = await _issues_from(github, params, query, params.cursor)
    turned = 1
    while not issues and cursor is not None and turned < MAX_PAGES:
        issues, cursor = await _issues_from(github, params, query, cursor)
        turned += 1
    return Listing[IssueSummary](items=issues, next_cursor=cursor)


async def _issues_from(
    github: GitHub, params: IssueListParams, query: Mapping[str, object], cursor: str | None
) -> tuple[list[IssueSummary], str | None]:
    """The issues of one page: GitHub lists pull requests among them."""
    path = github.repo(params.repo, "issues")
    page = await github.page(path, limit=params.limit, cursor=cursor, params=query)
    issues = [item for item in page.items if not (isinstance(item, dict) and "pull_request" in item)]
    return read_all(IssueSummary, issues), page.next_cursor


class IssueReadParams(RepoArgument, ListParams):
    number: Number = Field(description="The issue's number.")
    action: Literal["get", "comments", "timeline", "sub_issues"] = Field(
        default="get", description="`limit` and `cursor` are for all but get."
    )


class Issue(Titled):
    """An issue in full."""

    body: Text = ""
    excerpt: Excerpt = Field(default="", exclude=True)
    state_reason: str | None = None
    milestone: str | None = Field(default=None, validation_alias=AliasPath("milestone", "title"))
    comments: int = 0
    closed_at: datetime | None = None


class TimelineEntry(Shape):
    """Something that happened to an issue; which fields are set depends on `event`."""

    event: str | None = None
    by: str | None = Field(default=None, validation_alias=AliasPath("actor", "login"))
    at: datetime | None = Field(default=None, validation_alias="created_at")
    label: str | None = Field(default=None, validation_alias=AliasPath("label", "name"))
    commit: str | None = Field(default=None, validation_alias="commit_id")
    referenced_by: str | None = Field(default=None, validation_alias=AliasPath("source", "issue", "html_url"))
    excerpt: Excerpt = Field(default="", validation_alias="body")


class IssueRead(ToolResult):
    """The part that was asked for."""

    issue: Issue | None = None
    comments: list[Comment] | None = None
    timeline: list[TimelineEntry] | None = None
    sub_issues: list[IssueSummary] | None = None
    next_cursor: str | None = None


async def read_issue(github: GitHub, params: IssueReadParams) -> IssueRead:
    """Read one issue: itself with its whole text, its comments, what happened to it (timeline), or its sub-issues."""
    base = github.repo(params.repo, "issues", params.number)
    if params.action == "get":
        return IssueRead(issue=read(Issue, await github.json(base)))
    page = await github.page(f"{base}/{params.action}", limit=params.limit, cursor=params.cursor)
    if params.action == "comments":
        return IssueRead(comments=read_all(Comment, page.items), next_cursor=page.next_cursor)
    if params.action == "timeline":
        return IssueRead(timeline=read_all(TimelineEntry, page.items), next_cursor=page.next_cursor)
    return IssueRead(sub_issues=read_all(IssueSummary, page.items), next_cursor=page.next_cursor)


class IssueWriteParams(ByAction, RepoArgument, WriteParams):
    action: Literal["create", "update", "comment", "add_labels"] = Field(description="What to do.")
    number: Number | None = Field(default=None, description="For all but create.")
    title: Title | None = Field(default=None, description="For create (needed) and update.")
    body: Body | None = Field(default=None, description="Markdown; for comment (needed), create and update.")
    labels: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="create, update: replaces all; add_labels: adds these."
    )
    assignees: tuple[Login, ...] | None = Field(default=None, max_length=10, description="create, update.")
    milestone: Number | None = Field(default=None, description="Its number; create, update.")
    state: Literal["open", "closed"] | None = Field(default=None, description="update.")
    state_reason: Literal["completed", "not_planned", "duplicate", "reopened"] | None = Field(
        default=None, description="Why, with state; update."
    )

    actions: ClassVar[Mapping[str, Takes]] = {
        "create": Takes(needs=("title",), may=("body", "labels", "assignees", "milestone")),
        "update": Takes(
            needs=("number",),
            any_of=("title", "body", "labels", "assignees", "milestone", "state"),
            may=("state_reason",),
        ),
        "comment": Takes(needs=("number", "body")),
        "add_labels": Takes(needs=("number", "labels")),
    }


async def write_issue(github: GitHub, params: IssueWriteParams) -> WriteResult:
    """Create an issue, update it (also close and reopen it), comment on it, or add labels. Comments work on pull requests too."""
    return await make(github, _change(github, params), dry_run=params.dry_run)


def _change(github: GitHub, params: IssueWriteParams) -> Change:
    repo = github.repo_name(params.repo)
    if params.number is None:
        what = f"issue {params.title!r} in {repo}"
        return Change(
            "POST", github.repo(repo, "issues"), f"create {what}", f"created {what}", _fields(params)
        )
    base, what = github.repo(repo, "issues", params.number), f"{repo}#{params.number}"
    if params.action == "comment":
        return Change(
            "POST", f"{base}/comments", f"comment on {what}", f"commented on {what}", {"body": params.body}
        )
    if params.action == "add_labels":
        names = list(params.labels or ())
        what = f"labels {', '.join(names)} to {what}"
        return Change("POST", f"{base}/labels", f"add {what}", f"added {what}", {"labels": [*names]})
    return Change("PATCH", base, f"update {what}", f"updated {what}", _fields(params))


def _fields(params: IssueWriteParams) -> JsonObject:
    return given(
        title=params.title,
        body=params.body,
        labels=None if params.labels is None else list(params.labels),
        assignees=None if params.assignees is None else list(params.assignees),
        milestone=params.milestone,
        state=params.state,
        state_reason=params.state_reason,
    )


TOOLS = (
    Tool("github_issue_list", "List issues", IssueListParams, Listing[IssueSummary], list_issues),
    Tool("github_issue_read", "Read an issue", IssueReadParams, IssueRead, read_issue),
    Tool(
        "github_issue_write",
        "Create, update, comment on an issue",
        IssueWriteParams,
        WriteResult,
        write_issue,
        effect=Effect.WRITE,
    ),
)

"""Reading pull requests: https://docs.github.com/rest/pulls"""

import asyncio
from datetime import datetime
from typing import Any, Literal

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Listing, ListParams, Tool, ToolResult
from devops_mcp.adapters.github.client import DIFF, GitHub
from devops_mcp.adapters.github.tools.common import (
    ChangedFile,
    Comment,
    Commit,
    Logins,
    Number,
    Ref,
    RepoArgument,
    Titled,
)
from devops_mcp.adapters.shapes import Excerpt, Shape, Text, read, read_all


class PullRequestListParams(RepoArgument, ListParams):
    state: Literal["open", "closed", "all"] = Field(
        default="open", description="Which of them; merged ones are closed."
    )
    head: str | None = Field(default=None, max_length=300, description="Source, as `owner:branch`.")
    base: Ref | None = Field(default=None, description="Target branch.")
    sort: Literal["created", "updated", "popularity", "long-running"] = Field(
        default="created", description="Sort by."
    )
    direction: Literal["asc", "desc"] = Field(default="desc", description="Sort direction.")


class PullRequestSummary(Titled):
    draft: bool = False
    head: str = Field(validation_alias=AliasPath("head", "ref"))
    head_sha: str = Field(validation_alias=AliasPath("head", "sha"))
    base: str = Field(validation_alias=AliasPath("base", "ref"))
    merged_at: datetime | None = None


async def list_pull_requests(github: GitHub, params: PullRequestListParams) -> Listing[PullRequestSummary]:
    """List a repository's pull requests, by state, source or target branch. To find them by words or author use github_search."""
    page = await github.page(
        github.repo(params.repo, "pulls"),
        limit=params.limit,
        cursor=params.cursor,
        params={
            "state": params.state,
            "head": params.head,
            "base": params.base,
            "sort": params.sort,
            "direction": params.direction,
        },
    )
    return Listing[PullRequestSummary](
        items=read_all(PullRequestSummary, page.items), next_cursor=page.next_cursor
    )


class PullRequestReadParams(RepoArgument, ListParams):
    number: Number = Field(description="The pull request's number.")
    action: Literal["get", "diff", "files", "commits", "reviews", "comments", "checks"] = Field(
        default="get",
        description="`comments` are those on lines of the diff (those of the conversation: github_issue_read); `checks` are "
        "statuses and check runs of the last commit.",
    )


class PullRequest(PullRequestSummary):
    """A pull request in full. `mergeable` is None while GitHub is still finding out: ask again."""

    body: Text = ""
    excerpt: Excerpt = Field(default="", exclude=True)
    mergeable: bool | None = None
    mergeable_state: str | None = None
    merged: bool = False
    merge_commit: str | None = Field(default=None, validation_alias="merge_commit_sha")
    reviewers: Logins = Field(default=(), validation_alias="requested_reviewers")
    commits: int | None = None
    additions: int | None = None
    deletions: int | None = None
    changed_files: int | None = None


class Review(Shape):
    id: int
    by: str | None = Field(default=None, validation_alias=AliasPath("user", "login"))
    state: str
    body: Text = ""
    commit: str | None = Field(default=None, validation_alias="commit_id")
    submitted_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class Check(Shape):
    """A check run, or a status that another system set. `conclusion` is None while it runs."""

    name: str
    id: int | None = None
    status: str | None = None
    conclusion: str | None = None
    summary: Excerpt = Field(default="", validation_alias=AliasPath("output", "summary"))
    started_at: datetime | None = None
    completed_at: datetime | None = None
    url: str | None = Field(default=None, validation_alias="html_url")


class Checks(Shape):
    """`state` is the worst of all: `failure`, `pending` or `success`."""

    sha: str
    state: Literal["failure", "pending", "success"]
    failed: list[Check]
    pending: list[Check]
    passed: list[Check]


class PullRequestRead(ToolResult):
    """The part that was asked for."""

    pull_request: PullRequest | None = None
    diff: str | None = None
    files: list[ChangedFile] | None = None
    commits: list[Commit] | None = None
    reviews: list[Review] | None = None
    comments: list[Comment] | None = None
    checks: Checks | None = None
    next_cursor: str | None = None


async def read_pull_request(github: GitHub, params: PullRequestReadParams) -> PullRequestRead:
    """Read one pull request: itself, its diff, changed files with patches, commits, reviews, line comments, or checks of its head."""
    base = github.repo(params.repo, "pulls", params.number)
    if params.action == "get":
        return PullRequestRead(pull_request=read(PullRequest, await github.json(base)))
    if params.action == "diff":
        return PullRequestRead(diff=(await github.get(base, accept=DIFF)).text())
    if params.action == "checks":
        head = read(PullRequestSummary, await github.json(base)).head_sha
        return PullRequestRead(checks=await read_checks(github, params.repo, head))
    page = await github.page(f"{base}/{params.action}", limit=params.limit, cursor=params.cursor)
    if params.action == "files":
        return PullRequestRead(files=read_all(ChangedFile, page.items), next_cursor=page.next_cursor)
    if params.action == "commits":
        return PullRequestRead(commits=read_all(Commit, page.items), next_cursor=page.next_cursor)
    if params.action == "reviews":
        return PullRequestRead(reviews=read_all(Review, page.items), next_cursor=page.next_cursor)
    return PullRequestRead(comments=read_all(Comment, page.items), next_cursor=page.next_cursor)


async def read_checks(github: GitHub, repo: str | None, sha: str) -> Checks:
    """Check runs and commit statuses of a commit, as one list; the first hundred of each."""
    commit = github.repo(repo, "commits", sha)
    runs, statuses = await asyncio.gather(
        github.page(f"{commit}/check-runs", limit=100, cursor=None, items="check_runs"),
        github.page(f"{commit}/status", limit=100, cursor=None, items="statuses"),
    )
    checks = read_all(Check, runs.items) + [_from_status(status) for status in statuses.items]
    failed = [check for check in checks if check.conclusion not in (None, "success", "neutral", "skipped")]
    pending = [check for check in checks if check.conclusion is None]
    passed = [check for check in checks if check.conclusion in ("success", "neutral", "skipped")]
    state: Literal["failure", "pending", "success"] = (
        "failure" if failed else "pending" if pending else "success"
    )
    return Checks(sha=sha, state=state, failed=failed, pending=pending, passed=passed)


def _from_status(raw: dict[str, Any]) -> Check:
    state = str(raw.get("state"))
    return Check(
        name=str(raw.get("context")),
        id=raw.get("id"),
        status="in_progress" if state == "pending" else "completed",
        conclusion=None if state == "pending" else state,
        summary=str(raw.get("description") or ""),
        url=raw.get("target_url"),
    )


TOOLS = (
    Tool(
        "github_pr_list",
        "List pull requests",
        PullRequestListParams,
        Listing[PullRequestSummary],
        list_pull_requests,
    ),
    Tool("github_pr_read", "Read a pull request", PullRequestReadParams, PullRequestRead, read_pull_request),
)

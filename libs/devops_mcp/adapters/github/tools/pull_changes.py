"""Changing, reviewing and merging pull requests: https://docs.github.com/rest/pulls"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from devops_mcp.adapters.actions import ByAction, Takes
from devops_mcp.adapters.base import Effect, Risk, Tool, WriteParams, WriteResult
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.tools.common import (
    Body,
    Change,
    FilePath,
    Login,
    Number,
    Ref,
    RepoArgument,
    Sha,
    Title,
    given,
    make,
)
from devops_mcp.models.base import JsonObject


class PullRequestWriteParams(ByAction, RepoArgument, WriteParams):
    action: Literal["create", "update", "update_branch", "request_reviewers"] = Field(
        description="What to do."
    )
    number: Number | None = Field(default=None, description="For all but create.")
    title: Title | None = Field(default=None, description="create (needed), update.")
    body: Body | None = Field(default=None, description="Markdown; create, update.")
    head: str | None = Field(
        default=None,
        max_length=300,
        description="create (needed): branch with the changes, or `owner:branch`.",
    )
    base: Ref | None = Field(default=None, description="create (needed), update: branch to merge into.")
    draft: bool | None = Field(default=None, description="create.")
    state: Literal["open", "closed"] | None = Field(default=None, description="update.")
    expected_head_sha: Sha | None = Field(
        default=None, description="update_branch: only if this is the last commit."
    )
    reviewers: tuple[Login, ...] | None = Field(default=None, max_length=15, description="request_reviewers.")
    team_reviewers: tuple[Login, ...] | None = Field(
        default=None, max_length=15, description="Team slugs; request_reviewers."
    )

    actions: ClassVar[Mapping[str, Takes]] = {
        "create": Takes(needs=("title", "head", "base"), may=("body", "draft")),
        "update": Takes(needs=("number",), any_of=("title", "body", "base", "state")),
        "update_branch": Takes(needs=("number",), may=("expected_head_sha",)),
        "request_reviewers": Takes(needs=("number",), any_of=("reviewers", "team_reviewers")),
    }


async def write_pull_request(github: GitHub, params: PullRequestWriteParams) -> WriteResult:
    """Open a pull request, update it (also close and reopen it), bring its branch up to date with its base, or ask people to review it."""
    return await make(github, _change(github, params), dry_run=params.dry_run)


def _change(github: GitHub, params: PullRequestWriteParams) -> Change:
    repo = github.repo_name(params.repo)
    if params.number is None:
        what = f"pull request {params.title!r} from {params.head} into {params.base} in {repo}"
        body = given(
            title=params.title, body=params.body, head=params.head, base=params.base, draft=params.draft
        )
        return Change("POST", github.repo(repo, "pulls"), f"open {what}", f"opened {what}", body)
    base, what = github.repo(repo, "pulls", params.number), f"{repo}#{params.number}"
    if params.action == "update_branch":
        body = given(expected_head_sha=params.expected_head_sha)
        what = f"the branch of {what} with its base"
        return Change("PUT", f"{base}/update-branch", f"update {what}", f"began to update {what}", body)
    if params.action == "request_reviewers":
        people, teams = params.reviewers or (), params.team_reviewers or ()
        body = given(reviewers=[*people], team_reviewers=[*teams])
        what = f"{', '.join((*people, *teams))} to review {what}"
        return Change("POST", f"{base}/requested_reviewers", f"ask {what}", f"asked {what}", body)
    body = given(title=params.title, body=params.body, base=params.base, state=params.state)
    return Change("PATCH", base, f"update {what}", f"updated {what}", body)


class LineComment(BaseModel):
    """A comment on a line of the diff."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: FilePath = Field(description="From the root of the repository.")
    line: int = Field(ge=1, description="Line in the file, as on its side of the diff.")
    side: Literal["LEFT", "RIGHT"] = Field(
        default="RIGHT", description="RIGHT: as it is now; LEFT: a deleted line."
    )
    start_line: int | None = Field(default=None, ge=1, description="First line, for a comment on several.")
    body: Body = Field(description="Markdown.")

    def as_json(self) -> JsonObject:
        return given(
            path=self.path, line=self.line, side=self.side, start_line=self.start_line, body=self.body
        )


class ReviewWriteParams(ByAction, RepoArgument, WriteParams):
    number: Number = Field(description="The pull request.")
    action: Literal["start", "submit", "review", "comment", "reply", "discard"] = Field(
        description="start: a pending review with `comments`, seen by nobody yet; submit: publish it; review: both in one; "
        "comment: one comment on a line at once; reply: to such a comment; discard: a pending review."
    )
    event: Literal["APPROVE", "REQUEST_CHANGES", "COMMENT"] | None = Field(
        default=None, description="The verdict; submit, review."
    )
    body: Body | None = Field(
        default=None, description="Markdown. Needed by reply, and by a verdict that does not approve."
    )
    comments: tuple[LineComment, ...] | None = Field(
        default=None, max_length=100, description="start, review."
    )
    comment: LineComment | None = Field(default=None, description="comment.")
    commit_sha: Sha | None = Field(
        default=None, description="The commit that was read: start, review, comment (needed)."
    )
    review_id: Number | None = Field(default=None, description="From start; submit, discard.")
    comment_id: Number | None = Field(default=None, description="reply.")

    actions: ClassVar[Mapping[str, Takes]] = {
        "start": Takes(may=("body", "comments", "commit_sha")),
        "submit": Takes(needs=("review_id", "event"), may=("body",)),
        "review": Takes(needs=("event",), may=("body", "comments", "commit_sha")),
        "comment": Takes(needs=("comment", "commit_sha")),
        "reply": Takes(needs=("comment_id", "body")),
        "discard": Takes(needs=("review_id",)),
    }


async def write_review(github: GitHub, params: ReviewWriteParams) -> WriteResult:
    """Review a pull request: approve, request changes or comment, with comments on lines; or write and answer single comments on lines."""
    return await make(github, _review_change(github, params), dry_run=params.dry_run)


def _review_change(github: GitHub, params: ReviewWriteParams) -> Change:
    pull, what = (
        github.repo(params.repo, "pulls", params.number),
        f"{github.repo_name(params.repo)}#{params.number}",
    )
    if params.comment is not None:
        body = params.comment.as_json() | {"commit_id": params.commit_sha}
        where = f"{params.comment.path}:{params.comment.line} of {what}"
        return Change("POST", f"{pull}/comments", f"comment on {where}", f"commented on {where}", body)
    if params.comment_id is not None:
        where = f"comment {params.comment_id} on {what}"
        target = f"{pull}/comments/{params.comment_id}/replies"
        return Change("POST", target, f"reply to {where}", f"replied to {where}", {"body": params.body})
    if params.review_id is not None:
        return _pending_change(
            params, f"{pull}/reviews/{params.review_id}", f"review {params.review_id} of {what}"
        )
    comments = [comment.as_json() for comment in params.comments or ()]
    body = given(event=params.event, body=params.body, commit_id=params.commit_sha, comments=[*comments])
    what = f"{what} ({params.event or 'pending'}, {len(comments)} comments on lines)"
    return Change("POST", f"{pull}/reviews", f"review {what}", f"reviewed {what}", body)


def _pending_change(params: ReviewWriteParams, review: str, what: str) -> Change:
    if params.action == "discard":
        return Change("DELETE", review, f"discard {what}", f"discarded {what}")
    body = given(event=params.event, body=params.body)
    return Change(
        "POST",
        f"{review}/events",
        f"submit {what} as {params.event}",
        f"submitted {what} as {params.event}",
        body,
    )


class PullRequestMergeParams(RepoArgument, WriteParams):
    number: Number = Field(description="The pull request's number.")
    sha: Sha = Field(
        description="The head commit that was reviewed (head_sha); if someone pushed since, nothing is merged."
    )
    method: Literal["merge", "squash", "rebase"] = Field(default="merge", description="How.")
    commit_title: Title | None = Field(
        default=None, description="Of the merge or squash commit; default: GitHub's."
    )
    commit_message: Body | None = Field(default=None, description="Below its title.")


async def merge_pull_request(github: GitHub, params: PullRequestMergeParams) -> WriteResult:
    """Merge a pull request, if its head is still the commit given. Read its checks and reviews before."""
    what = f"{github.repo_name(params.repo)}#{params.number} at {params.sha[:7]} ({params.method})"
    body = given(
        sha=params.sha,
        merge_method=params.method,
        commit_title=params.commit_title,
        commit_message=params.commit_message,
    )
    target = github.repo(params.repo, "pulls", params.number, "merge")
    return await make(
        github, Change("PUT", target, f"merge {what}", f"merged {what}", body), dry_run=params.dry_run
    )


TOOLS = (
    Tool(
        "github_pr_write",
        "Open or update a pull request",
        PullRequestWriteParams,
        WriteResult,
        write_pull_request,
        effect=Effect.WRITE,
        risk=Risk.MEDIUM,
    ),
    Tool(
        "github_pr_review_write",
        "Review a pull request",
        ReviewWriteParams,
        WriteResult,
        write_review,
        effect=Effect.WRITE,
        risk=Risk.MEDIUM,
    ),
    Tool(
        "github_pr_merge",
        "Merge a pull request",
        PullRequestMergeParams,
        WriteResult,
        merge_pull_request,
        effect=Effect.WRITE,
        risk=Risk.HIGH,
    ),
)

"""Pull requests, pushes, issues and releases."""

from typing import Literal, TypeAlias

from devops_mcp.adapters.deliveries import about, text
from devops_mcp.adapters.github.webhooks import payloads
from devops_mcp.adapters.github.webhooks.activity import activity
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.events.model import ChangeEvent, CodePushed, Event, IssueChanged, ReleasePublished
from devops_mcp.models.errors import InvalidInput

MAX_COMMITS = 50

ChangeType: TypeAlias = Literal["change.opened", "change.updated", "change.merged", "change.closed"]


def pull_request(payload: Payload) -> Event:
    pull = payload.part("pull_request", payloads.PullRequest)
    if payload.body.get("number") != pull.number:
        raise InvalidInput("the body is not that of a 'pull_request' event: body.number is another one's")
    merged = payload.action == "closed" and bool(pull.merged)
    action = "got new commits" if payload.action == "synchronize" else payload.action or "changed"
    happened = "merged" if merged else action.replace("_", " ")
    title = f"Pull request #{pull.number} {happened} in {payload.subject} ({pull.branch} into {pull.base}){about(pull.title)}"
    told = payload.told(title, pull.url, pull.merged_at if merged else pull.updated_at)
    return ChangeEvent(
        **told,
        type=_change_type(payload.action, merged=merged),
        number=pull.number,
        branch=pull.branch,
        base=pull.base,
        commit=pull.commit,
        body=text(pull.body),
    )


def _change_type(action: str | None, *, merged: bool) -> ChangeType:
    if action == "closed":
        return "change.merged" if merged else "change.closed"
    return "change.opened" if action in ("opened", "reopened") else "change.updated"


def push(payload: Payload) -> Event:
    push = payload.whole(payloads.Push)
    if push.deleted:
        return activity(payload)
    messages = tuple(commit.message for commit in push.commits[-MAX_COMMITS:])
    newest = push.head_message or (messages[-1] if messages else "")
    return CodePushed(
        **payload.told(f"{_pushed(push, payload.subject)}{about(newest)}", push.compare, push.head_time),
        ref=push.ref,
        commit=push.after,
        messages=messages,
    )


def _pushed(push: payloads.Push, repo: str) -> str:
    how = "force-pushed" if push.forced else "pushed"
    if push.ref.startswith("refs/tags/"):
        return f"Tag {push.ref.removeprefix('refs/tags/')} {how} to {repo}"
    branch = push.ref.removeprefix("refs/heads/")
    if push.created and not push.commits:
        return f"Branch {branch} created in {repo}"
    return f"{len(push.commits)} commit{'' if len(push.commits) == 1 else 's'} {how} to {branch} of {repo}"


def issues(payload: Payload) -> Event:
    issue = payload.part("issue", payloads.Issue)
    action = payload.action or "changed"
    title = f"Issue #{issue.number} {action.replace('_', ' ')} in {payload.subject}{about(issue.title)}"
    return IssueChanged(
        **payload.told(title, issue.url, issue.updated_at),
        number=str(issue.number),
        action=action,
        state=issue.state,
        body=text(issue.body),
    )


def issue_comment(payload: Payload) -> Event:
    """Comments on the conversation of an issue or a pull request."""
    issue = payload.part("issue", payloads.Issue)
    comment = payload.part("comment", payloads.Comment)
    what = "pull request" if issue.pull_request else "issue"
    by = payload.sender or "someone"
    title = (
        f"Comment {payload.action} by {by} on {what} #{issue.number} of {payload.subject}{about(issue.title)}"
    )
    return IssueChanged(
        **payload.told(title, comment.url or issue.url, comment.updated_at),
        number=str(issue.number),
        action=f"comment_{payload.action}",
        state=issue.state,
        body=text(comment.body),
    )


def release(payload: Payload) -> Event:
    """GitHub tells one publishing as `created`, `published` and `released`; `published` is the event."""
    release = payload.part("release", payloads.Release)
    if payload.action != "published":
        return activity(payload)
    kind = "Pre-release" if release.prerelease else "Release"
    name = release.name if release.name != release.tag else ""
    title = f"{kind} {release.tag} of {payload.subject} published{about(name)}"
    return ReleasePublished(
        **payload.told(title, release.url, release.published_at), version=release.tag, body=text(release.body)
    )

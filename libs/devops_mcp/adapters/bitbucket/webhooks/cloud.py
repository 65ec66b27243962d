"""Bitbucket Cloud's payloads: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.bitbucket.webhooks.cloud_forms import FORMS, check_form
from devops_mcp.adapters.code_hosts import (
    ChangeType,
    Payload,
    Time,
    activity,
    changed,
    commented,
    ended,
    issue_changed,
    named,
    pushed,
    ref_deleted,
)
from devops_mcp.adapters.deliveries import about
from devops_mcp.adapters.shapes import FirstLine, Shape, Text
from devops_mcp.events.model import BuildEvent, Event
from devops_mcp.models.errors import InvalidInput

_HTML = AliasPath("links", "html", "href")


_CHANGES: Mapping[str, tuple[ChangeType, str]] = {
    "created": ("change.opened", "opened"),
    "fulfilled": ("change.merged", "merged"),
    "rejected": ("change.closed", "declined"),
    "push": ("change.updated", "got new commits"),
    "changes_request_created": ("change.updated", "got changes requested"),
    "changes_request_removed": ("change.updated", "got a request for changes taken back"),
}


class _Commit(Shape):
    hash: str
    message: FirstLine = ""


class _Ref(Shape):
    type: str
    name: str
    commit: str = Field(validation_alias=AliasPath("target", "hash"))


class _Change(Shape):
    new: _Ref | None = None
    old: _Ref | None = None
    forced: bool = False
    truncated: bool = False
    commits: tuple[_Commit, ...] = ()
    url: str | None = Field(default=None, validation_alias=_HTML)


class _Push(Shape):
    changes: tuple[_Change, ...]


class _PullRequest(Shape):
    id: int
    title: FirstLine
    state: str
    body: Text = Field(default="", validation_alias="description")
    branch: str = Field(default="", validation_alias=AliasPath("source", "branch", "name"))
    commit: str = Field(default="", validation_alias=AliasPath("source", "commit", "hash"))
    base: str = Field(validation_alias=AliasPath("destination", "branch", "name"))
    url: str | None = Field(default=None, validation_alias=_HTML)
    updated_at: Time = Field(default=None, validation_alias="updated_on")


class _Issue(Shape):
    id: int
    title: FirstLine
    state: str | None = None
    body: Text = Field(default="", validation_alias=AliasPath("content", "raw"))
    url: str | None = Field(default=None, validation_alias=_HTML)
    updated_at: Time = Field(default=None, validation_alias="updated_on")


class _Comment(Shape):
    body: Text = Field(default="", validation_alias=AliasPath("content", "raw"))
    url: str | None = Field(default=None, validation_alias=_HTML)
    updated_at: Time = Field(default=None, validation_alias="updated_on")


class _Status(Shape):
    key: str
    name: FirstLine = ""
    state: str
    description: FirstLine = ""
    branch: str | None = Field(default=None, validation_alias="refname")
    commit: str | None = Field(default=None, validation_alias=AliasPath("commit", "hash"))
    commit_url: str = Field(default="", validation_alias=AliasPath("links", "commit", "href"))
    url: str | None = None
    updated_at: Time = Field(default=None, validation_alias="updated_on")


def parse(event: str, body: Mapping[str, Any], delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The events in one of Cloud's bodies; raises `InvalidInput` for a body of another event."""
    check_form(event, body)
    subject = named(body, "repository.full_name") or "bitbucket"
    actor = named(body, "actor.nickname", "actor.username", "actor.display_name")
    payload = Payload("bitbucket", event, body, origin, delivery, subject, actor)
    if event == "repo:push":
        return tuple(_pushed(payload, change) for change in payload.part("push", _Push).changes)
    return (_translation(event)(payload),)


def _translation(event: str) -> Callable[[Payload], Event]:
    if event not in FORMS:
        return _other
    if event.startswith("repo:commit_status_"):
        return _status
    if event.startswith("pullrequest:"):
        return _pull_comment if ":comment_" in event else _pull_request
    if event.startswith("issue:"):
        return _issue_comment if event == "issue:comment_created" else _issue
    return _other


def _pushed(payload: Payload, change: _Change) -> Event:
    ref = change.new or change.old
    if ref is None:
        raise InvalidInput("the body is not that of a 'repo:push' event: a change has neither new nor old")
    full = f"refs/{'tags' if ref.type == 'tag' else 'heads'}/{ref.name}"
    if change.new is None:
        return ref_deleted(payload, full)
    commits = change.commits
    if commits and commits[-1].hash != change.new.commit:  # newest first, but for one commit alone
        commits = commits[::-1]
    return pushed(
        payload,
        ref=full,
        commit=change.new.commit,
        messages=tuple(commit.message for commit in commits),
        more=change.truncated,
        created=change.old is None,
        forced=change.forced,
        url=change.url or named(payload.body, "repository.links.html.href"),
    )


def _pull_request(payload: Payload) -> Event:
    pull = payload.part("pullrequest", _PullRequest)
    action = payload.event.partition(":")[2]
    type_, happened = _CHANGES.get(action, ("change.updated", action))
    return changed(
        payload,
        type_=type_,
        happened=happened,
        number=pull.id,
        title=pull.title,
        branch=pull.branch,
        base=pull.base,
        commit=pull.commit,
        body=pull.body,
        url=pull.url,
        at=pull.updated_at,
    )


def _pull_comment(payload: Payload) -> Event:
    pull = payload.part("pullrequest", _PullRequest)
    comment = payload.part("comment", _Comment)
    return commented(
        payload,
        on=f"pull request #{pull.id}",
        number=str(pull.id),
        action=payload.event.partition("comment_")[2],
        title=pull.title,
        state=pull.state,
        body=comment.body,
        url=comment.url or pull.url,
        at=comment.updated_at,
    )


def _issue(payload: Payload) -> Event:
    issue = payload.part("issue", _Issue)
    action = payload.event.partition(":")[2]
    return issue_changed(
        payload,
        what=f"Issue #{issue.id}",
        number=str(issue.id),
        action=action,
        happened=action,
        title=issue.title,
        state=issue.state,
        body=issue.body,
        url=issue.url,
        at=issue.updated_at,
    )


def _issue_comment(payload: Payload) -> Event:
    issue = payload.part("issue", _Issue)
    comment = payload.part("comment", _Comment)
    return commented(
        payload,
        on=f"issue #{issue.id}",
        number=str(issue.id),
        action="created",
        title=issue.title,
        state=issue.state,
        body=comment.body,
        url=comment.url or issue.url,
        at=comment.updated_at,
    )


def _status(payload: Payload) -> Event:
    """A commit's status, which is how pipelines and build systems outside report."""
    status = payload.part("commit_status", _Status)
    finished = status.state != "INPROGRESS"
    commit = status.commit or status.commit_url.rpartition("/")[2] or None
    where = f"on {status.branch or (commit or 'a commit')[:12]} of {payload.subject}"
    name = status.name or status.key
    title = (
        f"Build '{name}' {ended(status.state) if finished else 'started'} {where}{about(status.description)}"
    )
    return BuildEvent(
        **payload.told(title, status.url, status.updated_at),
        type="build.finished" if finished else "build.started",
        workflow=name,
        run_id=status.key,
        branch=status.branch,
        commit=commit,
        conclusion=status.state if finished else None,
        failed=status.state == "FAILED",
    )


def _other(payload: Payload) -> Event:
    body = payload.body
    return activity(
        payload,
        details=[named(body, "comment.content.raw", "fork.full_name", "commit.hash")],
        url=named(body, "comment.links.html.href", "fork.links.html.href", "repository.links.html.href"),
    )

"""Bitbucket Data Center's payloads: https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html"""

from collections.abc import Mapping
from typing import Any

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.code_hosts import (
    ChangeType,
    Payload,
    Time,
    activity,
    changed,
    commented,
    named,
    no_commit,
    pushed,
    ref_deleted,
)
from devops_mcp.adapters.shapes import FirstLine, Shape, Text
from devops_mcp.events.model import Event

_CHANGES: Mapping[str, tuple[ChangeType, str]] = {
    "pr:opened": ("change.opened", "opened"),
    "pr:reopened": ("change.opened", "reopened"),
    "pr:merged": ("change.merged", "merged"),
    "pr:declined": ("change.closed", "declined"),
    "pr:deleted": ("change.closed", "deleted"),
    "pr:from_ref_updated": ("change.updated", "got new commits"),
    "pr:to_ref_updated": ("change.updated", "got new commits below it"),
    "pr:modified": ("change.updated", "modified"),
    "pr:reviewer:updated": ("change.updated", "got other reviewers"),
    "pr:reviewer:approved": ("change.updated", "approved"),
    "pr:reviewer:unapproved": ("change.updated", "unapproved"),
    "pr:reviewer:needs_work": ("change.updated", "marked as needing work"),
    "pr:reviewer:changes_requested": ("change.updated", "got changes requested"),
}
_SELF = AliasPath("links", "self", 0, "href")


class _Commit(Shape):
    id: str
    message: FirstLine = ""


class _Change(Shape):
    ref: str = Field(validation_alias=AliasPath("ref", "id"))
    before: str = Field(validation_alias="fromHash")
    after: str = Field(validation_alias="toHash")


class _Push(Shape):
    at: Time = Field(default=None, validation_alias="date")
    changes: tuple[_Change, ...]
    commits: tuple[_Commit, ...] = ()
    url: str | None = Field(
        default=None, validation_alias=AliasPath("repository", "links", "self", 0, "href")
    )


class _PullRequest(Shape):
    id: int
    title: FirstLine
    state: str
    body: Text = Field(default="", validation_alias="description")
    branch: str = Field(validation_alias=AliasPath("fromRef", "displayId"))
    commit: str = Field(validation_alias=AliasPath("fromRef", "latestCommit"))
    base: str = Field(validation_alias=AliasPath("toRef", "displayId"))
    url: str | None = Field(default=None, validation_alias=_SELF)


class _When(Shape):
    at: Time = Field(default=None, validation_alias="date")


class _Comment(Shape):
    id: int
    body: Text = Field(default="", validation_alias="text")


def parse(event: str, body: Mapping[str, Any], delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The events in one of Data Center's bodies, which names its event itself."""
    payload = Payload(
        "bitbucket", event, body, origin, delivery, _subject(body), named(body, "actor.name", "actor.slug")
    )
    if event == "repo:refs_changed":
        push = payload.whole(_Push)
        return tuple(_pushed(payload, push, change) for change in push.changes)
    if event.startswith("pr:comment:"):
        return (_comment(payload),)
    if event in _CHANGES:
        return (_pull_request(payload),)
    return (_other(payload),)


def _subject(body: Mapping[str, Any]) -> str:
    """`KEY/repository`, else the project's key."""
    for place in ("repository", "pullRequest.toRef.repository", "new"):
        key, slug = named(body, f"{place}.project.key"), named(body, f"{place}.slug")
        if key and slug:
            return f"{key}/{slug}"
    return named(body, "project.key", "new.key") or "bitbucket"


def _pushed(payload: Payload, push: _Push, change: _Change) -> Event:
    """Newer servers tell the commits of a push; where it moved several refs, they do not say whose they are."""
    if no_commit(change.after):
        return ref_deleted(payload, change.ref, url=push.url, at=push.at)
    commits = push.commits if len(push.changes) == 1 else ()
    if commits and commits[-1].id != change.after:  # newest first, but for one commit alone
        commits = commits[::-1]
    return pushed(
        payload,
        ref=change.ref,
        commit=change.after,
        messages=tuple(commit.message for commit in commits),
        created=no_commit(change.before),
        url=push.url,
        at=push.at,
    )


def _pull_request(payload: Payload) -> Event:
    pull = payload.part("pullRequest", _PullRequest)
    type_, happened = _CHANGES[payload.event]
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
        at=payload.whole(_When).at,
    )


def _comment(payload: Payload) -> Event:
    pull = payload.part("pullRequest", _PullRequest)
    comment = payload.part("comment", _Comment)
    return commented(
        payload,
        on=f"pull request #{pull.id}",
        number=str(pull.id),
        action=payload.event.removeprefix("pr:comment:"),
        title=pull.title,
        state=pull.state,
        body=comment.body,
        url=f"{pull.url}/overview?commentId={comment.id}" if pull.url else None,
        at=payload.whole(_When).at,
    )


def _other(payload: Payload) -> Event:
    details = [named(payload.body, "comment.text", "new.name", "commit")]
    return activity(payload, details=details, at=payload.whole(_When).at)

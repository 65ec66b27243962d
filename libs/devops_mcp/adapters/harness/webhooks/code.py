"""Events of Harness Code repositories: https://developer.harness.io/docs/code-repository/config-repos/webhooks"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.code_hosts import (
    ChangeType,
    Payload,
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
from devops_mcp.models.errors import InvalidInput

_TRIGGER = re.compile(r"[a-z][a-z0-9_]{0,59}")
_PUSHES = frozenset(
    {"branch_created", "branch_updated", "branch_deleted", "tag_created", "tag_updated", "tag_deleted"}
)
_CHANGES: Mapping[str, tuple[ChangeType, str]] = {
    "created": ("change.opened", "opened"),
    "reopened": ("change.opened", "reopened"),
    "merged": ("change.merged", "merged"),
    "closed": ("change.closed", "closed"),
    "branch_updated": ("change.updated", "got new commits"),
}


class _Commit(Shape):
    sha: str
    message: FirstLine = ""


class _Push(Shape):
    ref: str = Field(validation_alias=AliasPath("ref", "name"))
    before: str = Field(validation_alias="old_sha")
    after: str = Field(validation_alias="sha")
    forced: bool = False
    commit: _Commit | None = None
    """The newest; the only one that older servers tell."""
    commits: tuple[_Commit, ...] | None = None
    count: int | None = Field(default=None, validation_alias="total_commits_count")


class _PullRequest(Shape):
    number: int
    title: FirstLine
    state: str
    body: Text = Field(default="", validation_alias="description")
    branch: str = Field(validation_alias="source_branch")
    base: str = Field(validation_alias="target_branch")
    url: str | None = Field(default=None, validation_alias="pr_url")


class _Head(Shape):
    sha: str = ""


class _Comment(Shape):
    body: Text = Field(default="", validation_alias="text")


def event(trigger: str, body: Mapping[str, Any], delivery: Delivery, origin: Origin) -> Event:
    """What happened in a repository, by the body's `trigger`; what has no type of its own is `activity.recorded`."""
    if not _TRIGGER.fullmatch(trigger):
        raise InvalidInput("body.trigger does not name an event")
    subject = named(body, "repo.path", "repo.identifier", "repo.uid") or "harness"
    payload = Payload("harness", trigger, body, origin, delivery, subject, named(body, "principal.uid"))
    if trigger in _PUSHES:
        return _push(payload)
    if trigger.startswith("pullreq_comment_"):
        return _comment(payload)
    if trigger.startswith("pullreq_"):
        return _pull_request(payload)
    return activity(payload, details=[named(body, "ref.name", "pull_req.title")])


def _push(payload: Payload) -> Event:
    push = payload.whole(_Push)
    if no_commit(push.after) is not payload.event.endswith("_deleted"):
        raise InvalidInput(f"the body is not that of a {payload.event!r} event: body.sha does not fit")
    if no_commit(push.after):
        return ref_deleted(payload, push.ref)
    created = no_commit(push.before)
    commits = push.commits or ((push.commit,) if push.commit and not created else ())
    if commits and commits[-1].sha != push.after:  # newest first, but for one commit alone
        commits = commits[::-1]
    return pushed(
        payload,
        ref=push.ref,
        commit=push.after,
        messages=tuple(commit.message for commit in commits),
        count=push.count,
        more=push.count is None and push.commits is None and not created,
        created=created,
        forced=push.forced,
    )


def _pull_request(payload: Payload) -> Event:
    pull = payload.part("pull_req", _PullRequest)
    action = payload.event.removeprefix("pullreq_")
    type_, happened = _CHANGES.get(action, ("change.updated", action.replace("_", " ")))
    return changed(
        payload,
        type_=type_,
        happened=happened,
        number=pull.number,
        title=pull.title,
        branch=pull.branch,
        base=pull.base,
        commit=payload.whole(_Head).sha,
        body=pull.body,
        url=pull.url,
    )


def _comment(payload: Payload) -> Event:
    pull = payload.part("pull_req", _PullRequest)
    comment = payload.part("comment", _Comment)
    return commented(
        payload,
        on=f"pull request #{pull.number}",
        number=str(pull.number),
        action=payload.event.removeprefix("pullreq_comment_"),
        title=pull.title,
        state=pull.state,
        body=comment.body,
        url=pull.url,
    )

"""Pushes, merge requests, issues and other work items, notes, and releases."""

from collections.abc import Mapping

from devops_mcp.adapters.code_hosts import (
    ChangeType,
    Payload,
    activity,
    changed,
    commented,
    issue_changed,
    no_commit,
    pushed,
    ref_deleted,
)
from devops_mcp.adapters.deliveries import about, text
from devops_mcp.adapters.gitlab.webhooks import payloads
from devops_mcp.events.model import Event, ReleasePublished

_CHANGES: Mapping[str, ChangeType] = {
    "open": "change.opened",
    "reopen": "change.opened",
    "merge": "change.merged",
    "close": "change.closed",
}
_DONE: Mapping[str, str] = {
    "open": "opened",
    "reopen": "reopened",
    "merge": "merged",
    "close": "closed",
    "update": "updated",
    "approval": "approved by one more",
    "unapproval": "approved by one less",
    "create": "created",
    "delete": "deleted",
}
"""GitLab's actions as verbs."""


def push(payload: Payload) -> Event:
    """A push to a branch or tag. GitLab tells the newest twenty commits, oldest first, and how many there were."""
    push = payload.whole(payloads.Push)
    if no_commit(push.after):
        return ref_deleted(payload, push.ref, url=push.web_url)
    messages = tuple(commit.message for commit in push.commits) or ((push.message,) if push.message else ())
    return pushed(
        payload,
        ref=push.ref,
        commit=push.after,
        messages=messages,
        count=push.count if push.commits else 0,
        created=no_commit(push.before),
        url=_compared(push),
    )


def _compared(push: payloads.Push) -> str | None:
    if push.web_url is None or no_commit(push.before):
        return push.web_url
    return f"{push.web_url}/-/compare/{push.before}...{push.after}"


def merge_request(payload: Payload) -> Event:
    request = payload.part("object_attributes", payloads.MergeRequest)
    action = request.action or "update"
    happened = "got new commits" if request.old_commit else _DONE.get(action, action)
    return changed(
        payload,
        type_=_CHANGES.get(action, "change.updated"),
        happened=happened,
        number=request.number,
        title=request.title,
        branch=request.branch,
        base=request.base,
        commit=request.commit,
        body=request.body,
        url=request.url,
        at=request.updated_at,
        words="Merge request !",
    )


def issue(payload: Payload) -> Event:
    """An issue, or any other work item: epic, task, incident."""
    issue = payload.part("object_attributes", payloads.Issue)
    action = issue.action or "update"
    return issue_changed(
        payload,
        what=f"{issue.type} #{issue.number}",
        number=str(issue.number),
        action=action,
        happened=_DONE.get(action, action),
        title=issue.title,
        state=issue.state,
        body=issue.body,
        url=issue.url,
        at=issue.updated_at,
    )


def note(payload: Payload) -> Event:
    """A comment on an issue or merge request; those on commits and snippets are activities."""
    note = payload.part("object_attributes", payloads.Note)
    kinds = {"MergeRequest": ("merge_request", "merge request !"), "Issue": ("issue", "issue #")}
    action = {"update": "updated"}.get(note.action or "", "created")
    if note.on not in kinds:
        words = f"comment on a {note.on.lower()}"
        return activity(
            payload, words=words, action=action, details=[note.body], url=note.url, at=note.updated_at
        )
    key, words = kinds[note.on]
    on = payload.part(key, payloads.Commented)
    return commented(
        payload,
        on=f"{words}{on.number}",
        number=str(on.number),
        action=action,
        title=on.title,
        state=on.state,
        body=note.body,
        url=note.url,
        at=note.updated_at,
    )


def release(payload: Payload) -> Event:
    release = payload.whole(payloads.Release)
    name = release.name if release.name != release.tag else ""
    if release.action != "create":
        action = _DONE.get(release.action, release.action)
        return activity(payload, action=action, details=[release.tag, name], url=release.url)
    title = f"Release {release.tag} of {payload.subject} published{about(name)}"
    return ReleasePublished(
        **payload.told(title, release.url, release.released_at), version=release.tag, body=text(release.body)
    )

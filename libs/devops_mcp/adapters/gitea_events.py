"""What Gitea's and Forgejo's webhooks tell, as our events: the two have their payloads in common."""

import re
from collections.abc import Callable, Mapping
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
    ended,
    issue_changed,
    named,
    no_commit,
    pushed,
    ref_deleted,
    seconds_between,
)
from devops_mcp.adapters.deliveries import about, json_object, text
from devops_mcp.adapters.gitea_forms import check_form
from devops_mcp.adapters.shapes import FirstLine, Shape, Text
from devops_mcp.events.model import BuildEvent, Event, ReleasePublished
from devops_mcp.models.errors import InvalidInput

FAILED = frozenset({"failure", "error"})
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,59}")


class _Commit(Shape):
    id: str
    message: FirstLine = ""


class _Push(Shape):
    ref: str
    before: str
    after: str
    url: str | None = Field(default=None, validation_alias="compare_url")
    commits: tuple[_Commit, ...] | None = None
    count: int | None = Field(default=None, validation_alias="total_commits")


class _Ref(Shape):
    ref: str
    kind: str = Field(validation_alias="ref_type")


class _PullRequest(Shape):
    number: int
    title: FirstLine
    merged: bool | None = None
    merged_at: Time = None
    body: Text = ""
    branch: str = Field(validation_alias=AliasPath("head", "ref"))
    commit: str = Field(validation_alias=AliasPath("head", "sha"))
    base: str = Field(validation_alias=AliasPath("base", "ref"))
    url: str | None = Field(default=None, validation_alias="html_url")
    updated_at: Time = None


class _Issue(Shape):
    number: int
    title: FirstLine
    state: str | None = None
    body: Text = ""
    url: str | None = Field(default=None, validation_alias="html_url")
    pull_request: dict[str, Any] | None = None
    updated_at: Time = None


class _Comment(Shape):
    body: Text = ""
    url: str | None = Field(default=None, validation_alias="html_url")
    updated_at: Time = None


class _Review(Shape):
    body: Text = Field(default="", validation_alias="content")


class _Release(Shape):
    tag: str = Field(validation_alias="tag_name")
    name: FirstLine = ""
    body: Text = ""
    prerelease: bool = False
    url: str | None = Field(default=None, validation_alias="html_url")
    published_at: Time = None


class _Status(Shape):
    id: int
    sha: str
    state: str
    context: str
    description: FirstLine = ""
    url: str | None = Field(default=None, validation_alias="target_url")
    updated_at: Time = None


class _WorkflowRun(Shape):
    """Of Gitea's Actions."""

    id: int
    title: FirstLine = Field(default="", validation_alias="display_title")
    path: str = ""
    branch: str | None = Field(default=None, validation_alias="head_branch")
    commit: str | None = Field(default=None, validation_alias="head_sha")
    attempt: int = Field(default=1, validation_alias="run_attempt")
    conclusion: str | None = None
    url: str | None = Field(default=None, validation_alias="html_url")
    started_at: Time = None
    completed_at: Time = None


class _ActionRun(Shape):
    """Of Forgejo's Actions."""

    id: int
    title: FirstLine = ""
    workflow: str = Field(validation_alias="workflow_id")
    branch: str | None = Field(default=None, validation_alias="prettyref")
    commit: str | None = Field(default=None, validation_alias="commit_sha")
    status: str
    url: str | None = Field(default=None, validation_alias="html_url")
    started: Time = None
    stopped: Time = None


def parse(system: str, delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event in a delivery of `system`, which its headers are named after; what has no type of its own is `activity.recorded`."""
    header = f"x-{system}-event"
    event = delivery.headers.get(header, "")
    if not _EVENT.fullmatch(event):
        raise InvalidInput(f"header {header} is missing, or does not name one event")
    event = event.replace("pull_request_review_", "pull_request_")  # as older servers write it
    body = json_object(delivery)
    check_form(event, body)
    payload = Payload(system, event, body, origin, delivery, _subject(body) or system, _actor(body))
    return (_TRANSLATIONS.get(event, _other)(payload),)


def _subject(body: Mapping[str, Any]) -> str | None:
    return named(
        body,
        "repository.full_name",
        "run.repository.full_name",
        "package.repository.full_name",
        "organization.username",
        "package.owner.login",
    )


def _actor(body: Mapping[str, Any]) -> str | None:
    return named(body, "sender.login", "pusher.login", "run.trigger_user.login", "sender.username")


def _action(payload: Payload) -> str:
    return named(payload.body, "action") or "changed"


def _push(payload: Payload) -> Event:
    push = payload.whole(_Push)
    if no_commit(push.after):
        return ref_deleted(payload, push.ref)
    commits = push.commits or ()
    if commits and commits[0].id == push.after:  # newest first, as `git log` tells them
        commits = commits[::-1]
    return pushed(
        payload,
        ref=push.ref,
        commit=push.after,
        messages=tuple(commit.message for commit in commits),
        count=push.count,
        created=no_commit(push.before),
        url=push.url,
    )


def _created(payload: Payload) -> Event:
    ref = payload.whole(_Ref)
    url = named(payload.body, "repository.html_url")
    return activity(payload, words=f"{ref.kind} {ref.ref}", action="created", url=url)


def _deleted(payload: Payload) -> Event:
    ref = payload.whole(_Ref)
    full = f"refs/tags/{ref.ref}" if ref.kind == "tag" else ref.ref
    return ref_deleted(payload, full, url=named(payload.body, "repository.html_url"))


def _pull_request(payload: Payload) -> Event:
    pull = payload.part("pull_request", _PullRequest)
    action = _action(payload)
    if payload.body.get("number") != pull.number:
        raise InvalidInput("the body is not that of a 'pull_request' event: body.number is another one's")
    merged = action == "closed" and bool(pull.merged)
    happened = {"synchronized": "got new commits"}.get(action, action.replace("_", " "))
    return _pull_changed(
        payload,
        pull,
        _change_type(action, merged=merged),
        "merged" if merged else happened,
        pull.body,
    )


def _change_type(action: str, *, merged: bool) -> ChangeType:
    if action == "closed":
        return "change.merged" if merged else "change.closed"
    return "change.opened" if action in ("opened", "reopened") else "change.updated"


def _review(payload: Payload) -> Event:
    pull = payload.part("pull_request", _PullRequest)
    review = payload.part("review", _Review)
    kind = {"pull_request_approved": "approved", "pull_request_rejected": "rejected"}.get(payload.event)
    return _pull_changed(payload, pull, "change.updated", kind or "reviewed", review.body)


def _pull_changed(payload: Payload, pull: _PullRequest, type_: ChangeType, happened: str, body: str) -> Event:
    return changed(
        payload,
        type_=type_,
        happened=happened,
        number=pull.number,
        title=pull.title,
        branch=pull.branch,
        base=pull.base,
        commit=pull.commit,
        body=body,
        url=pull.url,
        at=pull.merged_at if type_ == "change.merged" else pull.updated_at,
    )


def _issues(payload: Payload) -> Event:
    issue = payload.part("issue", _Issue)
    action = _action(payload)
    return issue_changed(
        payload,
        what=f"Issue #{issue.number}",
        number=str(issue.number),
        action=action,
        happened=action.replace("_", " "),
        title=issue.title,
        state=issue.state,
        body=issue.body,
        url=issue.url,
        at=issue.updated_at,
    )


def _issue_comment(payload: Payload) -> Event:
    """Comments on the conversation of an issue or a pull request."""
    issue = payload.part("issue", _Issue)
    comment = payload.part("comment", _Comment)
    on_pull = payload.body.get("is_pull") is True or issue.pull_request is not None
    return commented(
        payload,
        on=f"{'pull request' if on_pull else 'issue'} #{issue.number}",
        number=str(issue.number),
        action=_action(payload),
        title=issue.title,
        state=issue.state,
        body=comment.body,
        url=comment.url or issue.url,
        at=comment.updated_at,
    )


def _release(payload: Payload) -> Event:
    release = payload.part("release", _Release)
    name = release.name if release.name != release.tag else ""
    if _action(payload) != "published":
        return activity(payload, action=_action(payload), details=[release.tag, name], url=release.url)
    kind = "Pre-release" if release.prerelease else "Release"
    title = f"{kind} {release.tag} of {payload.subject} published{about(name)}"
    return ReleasePublished(
        **payload.told(title, release.url, release.published_at), version=release.tag, body=text(release.body)
    )


def _status(payload: Payload) -> Event:
    """A commit status, which is how build systems outside report."""
    status = payload.whole(_Status)
    finished = status.state != "pending"
    happened = ended(status.state) if finished else "started"
    title = f"Status '{status.context}' {happened} on {status.sha[:7]} of {payload.subject}{about(status.description)}"
    return BuildEvent(
        **payload.told(title, status.url or None, status.updated_at),
        type="build.finished" if finished else "build.started",
        workflow=status.context,
        run_id=str(status.id),
        commit=status.sha,
        conclusion=status.state if finished else None,
        failed=status.state in FAILED,
    )


def _workflow_run(payload: Payload) -> Event:
    run = payload.part("workflow_run", _WorkflowRun)
    action = _action(payload)
    if action not in ("requested", "completed"):
        return activity(payload, action=action, details=[run.title], url=run.url)
    finished = action == "completed"
    name = named(payload.body, "workflow.name") or run.path.partition("@")[0] or "workflow"
    where = f"on {run.branch} of {payload.subject}" if run.branch else f"of {payload.subject}"
    happened = ended(run.conclusion) if finished else "started"
    title = f"Build '{name}' {happened} {where} (attempt {run.attempt}){about(run.title)}"
    return BuildEvent(
        **payload.told(title, run.url, run.completed_at if finished else run.started_at),
        type="build.finished" if finished else "build.started",
        workflow=name,
        run_id=str(run.id),
        attempt=run.attempt,
        branch=run.branch,
        commit=run.commit,
        conclusion=run.conclusion if finished else None,
        failed=finished and run.conclusion in FAILED,
        duration_s=seconds_between(run.started_at, run.completed_at) if finished else None,
    )


def _action_run(payload: Payload) -> Event:
    """Forgejo tells only how runs end; one that succeeds after a failure has recovered."""
    run = payload.part("run", _ActionRun)
    failed = payload.event == "action_run_failure"
    recovered = payload.event == "action_run_recover"
    happened = "recovered" if recovered else ended("failure" if failed else "success")
    where = f"on {run.branch} of {payload.subject}" if run.branch else f"of {payload.subject}"
    return BuildEvent(
        **payload.told(f"Build '{run.workflow}' {happened} {where}{about(run.title)}", run.url, run.stopped),
        type="build.finished",
        workflow=run.workflow,
        run_id=str(run.id),
        branch=run.branch,
        commit=run.commit,
        conclusion=run.status,
        failed=failed,
        duration_s=seconds_between(run.started, run.stopped),
    )


def _other(payload: Payload) -> Event:
    names = ("page", "package.name", "workflow_job.name", "forkee.full_name", "repository.name")
    urls = ("package.html_url", "workflow_job.html_url", "forkee.html_url", "repository.html_url")
    return activity(
        payload,
        action=named(payload.body, "action"),
        details=[named(payload.body, *names), named(payload.body, "workflow_job.conclusion")],
        url=named(payload.body, *urls),
    )


_TRANSLATIONS: Mapping[str, Callable[[Payload], Event]] = {
    "action_run_failure": _action_run,
    "action_run_recover": _action_run,
    "action_run_success": _action_run,
    "create": _created,
    "delete": _deleted,
    "issue_comment": _issue_comment,
    "issues": _issues,
    "pull_request": _pull_request,
    "pull_request_approved": _review,
    "pull_request_comment": _review,
    "pull_request_rejected": _review,
    "push": _push,
    "release": _release,
    "status": _status,
    "workflow_run": _workflow_run,
}

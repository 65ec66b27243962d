"""What happens in repositories whose webhooks do not reach us: their workflow runs, and GitHub's own list of their events.

Both lists are asked for with the ETag of the last answer, so that a look that finds nothing costs no quota. The first look at a repository
only remembers what is there. https://docs.github.com/rest/activity/events and https://docs.github.com/rest/actions/workflow-runs
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from pydantic import AliasPath, AwareDatetime, Field

from devops_mcp.adapters.base import Delivery
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.cursors import next_cursor
from devops_mcp.adapters.github.webhooks import event_of
from devops_mcp.adapters.github.webhooks.activity import activity
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.adapters.polls import Found, Poll, Polled, Poller
from devops_mcp.adapters.shapes import Shape, read, read_all
from devops_mcp.events.model import CodePushed, Event
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid, UpstreamNotFound

PAGE = 100
PAGES = 3
"""GitHub lists no more events than these hold; of runs, no more are looked through at once."""
MAX_OPEN = 20
"""Runs of a repository that are asked for one by one, having left the first pages unfinished."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class RepositoryEvent(Shape):
    id: str
    type: str
    repo: str = Field(validation_alias=AliasPath("repo", "name"))
    actor: str | None = Field(default=None, validation_alias=AliasPath("actor", "login"))
    payload: dict[str, Any] = Field(default_factory=dict)
    created_at: AwareDatetime


class Run(Shape):
    id: int
    attempt: int = Field(default=1, validation_alias="run_attempt")
    status: str | None = None

    @property
    def stage(self) -> str:
        return "finished" if self.status == "completed" else "started"


class EventsSeen(Shape):
    """Of one repository: which events were listed at the last look, and from when on they are told."""

    since: AwareDatetime
    etag: str | None = None
    ids: tuple[str, ...] = ()


class RunsSeen(Shape):
    """Of one repository: the runs at the last look, each with its attempt and stage; None before the first one."""

    etag: str | None = None
    runs: dict[str, str] | None = None


class EventsCursor(Shape):
    repos: dict[str, EventsSeen] = Field(default_factory=dict)


class RunsCursor(Shape):
    repos: dict[str, RunsSeen] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """The items of a list, newest first; None where it has not changed. `pause` is what GitHub asks for."""

    items: list[Any] | None
    etag: str | None
    pause: timedelta


async def repository_events(client: GitHub, poll: Poll) -> Polled:
    """GitHub's events of the repositories. They reach its list within half a minute to hours, the last 300 of 30 days."""
    before = read(EventsCursor, poll.cursor)
    found: list[Found] = []
    pause = timedelta(0)
    repos: dict[str, EventsSeen] = {}
    for repo in client.polled_repos():
        seen = before.repos.get(repo) or EventsSeen(since=poll.at)
        listed = await _list(client, client.repo(repo, "events"), seen.etag, set(seen.ids).__contains__)
        pause = max(pause, listed.pause)
        repos[repo] = seen
        if listed.items is not None:
            events = read_all(RepositoryEvent, listed.items)
            repos[repo] = EventsSeen(since=seen.since, etag=listed.etag, ids=tuple(e.id for e in events))
            new = [n for n, e in enumerate(events) if e.id not in seen.ids and e.created_at >= seen.since]
            found += [_found_event(poll, events[n], listed.items[n]) for n in reversed(new)]
    return Polled(found, EventsCursor(repos=repos).model_dump(mode="json"), pause)


async def workflow_runs(client: GitHub, poll: Poll) -> Polled:
    """Workflow runs that started or finished. One that is run again long after newer ones is not seen."""
    before = read(RunsCursor, poll.cursor)
    found: list[Found] = []
    repos: dict[str, RunsSeen] = {}
    for repo in client.polled_repos():
        seen = before.repos.get(repo) or RunsSeen()
        known = seen.runs or {}
        path = client.repo(repo, "actions", "runs")
        listed = await _list(client, path, seen.etag, known.__contains__, "workflow_runs")
        raw = {str(read(Run, item).id): item for item in reversed(listed.items or ())}
        left = [name for name, state in known.items() if state.endswith("started") and name not in raw]
        if listed.items is not None:
            for name in left[-MAX_OPEN:]:
                with suppress(UpstreamNotFound):  # it was deleted
                    raw[name] = await client.json(client.repo(repo, "actions", "runs", name))
        states = {name: _state(read(Run, item)) for name, item in raw.items()}
        if seen.runs is not None:
            oldest = min(map(int, known), default=0)
            news = [n for n, s in states.items() if known.get(n) != s and (n in known or int(n) > oldest)]
            found += [_found_run(poll, repo, raw[name]) for name in news]
        unchanged = listed.items is None
        repos[repo] = RunsSeen(
            etag=seen.etag if unchanged else listed.etag, runs=known if unchanged else states
        )
    return Polled(found, RunsCursor(repos=repos).model_dump(mode="json"))


async def _list(
    client: GitHub, path: str, etag: str | None, is_known: Callable[[str], bool], wrapped: str | None = None
) -> Listed:
    """The first page, and the next ones while there is nothing known on them."""
    reply = await client.changed(path, {"per_page": PAGE}, etag)
    interval = reply.headers.get("x-poll-interval", "")
    pause = timedelta(seconds=int(interval) if interval.isdecimal() and len(interval) < 6 else 0)
    if reply.status == 304:
        return Listed(None, etag, pause)
    content = reply.json()
    items = content.get(wrapped) if wrapped and isinstance(content, dict) else content
    if not isinstance(items, list):
        raise UpstreamInvalid(f"github's answer to {path} is not a list")
    cursor, pages = next_cursor(reply.headers.get("link")), 1
    while etag and cursor and pages < PAGES and not any(is_known(_id(item)) for item in items):
        page = await client.page(path, limit=PAGE, cursor=cursor, items=wrapped)
        items, cursor, pages = [*items, *page.items], page.next_cursor, pages + 1
    return Listed(items, reply.headers.get("etag"), pause)


def _id(item: Any) -> str:
    return str(item.get("id")) if isinstance(item, dict) else ""


def _state(run: Run) -> str:
    return f"{run.attempt}:{run.stage}"


def _found_run(poll: Poll, repo: str, raw: Mapping[str, Any]) -> Found:
    run = read(Run, raw)
    action = "completed" if run.stage == "finished" else "requested"
    body = {"action": action, "workflow_run": raw, "repository": {"full_name": repo}}
    event = event_of(Payload("workflow_run", body, poll.origin, Delivery({}, b"", poll.at)))
    return Found(event, f"{run.id}:{_state(run)}", orjson.dumps(raw))


def _found_event(poll: Poll, listed: RepositoryEvent, raw: Mapping[str, Any]) -> Found:
    """An event as its webhook would tell it; where the list leaves too much of that out, in one line."""
    name = _HUMP.sub("_", listed.type.removesuffix("Event")).lower()
    body = {**listed.payload, "repository": {"full_name": listed.repo}, "sender": {"login": listed.actor}}
    if name == "push":
        body = {"after": body.get("head"), "commits": (), **body}
    payload = Payload(name, body, poll.origin, Delivery({}, b"", listed.created_at))
    return Found(_told(payload), listed.id, orjson.dumps(raw))


def _told(payload: Payload) -> Event:
    try:
        event = event_of(payload)
    except InvalidInput:
        return activity(payload)
    if isinstance(event, CodePushed) and not event.messages:
        # The list tells where to, and not what.
        branch = event.ref.removeprefix("refs/heads/").removeprefix("refs/")
        return event.model_copy(update={"title": f"Commits pushed to {branch} of {event.subject}"})
    return event


POLLERS: tuple[Poller[GitHub], ...] = (
    Poller(
        "workflow_runs",
        "Workflow runs that start or finish, within about a minute.",
        timedelta(seconds=60),
        workflow_runs,
    ),
    Poller(
        "events",
        "What else happens in repositories, as GitHub lists it: within minutes to hours.",
        timedelta(seconds=120),
        repository_events,
    ),
)

"""GitHub's runs and events as differences between looks, against the fake whose answers fit GitHub's own description."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.github import ADAPTER
from devops_mcp.adapters.github.webhooks import WEBHOOKS
from devops_mcp.adapters.polls import Poll, Polled
from devops_mcp.models.errors import InvalidInput, UpstreamRateLimited, UpstreamUnavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.github_fake import REPO, TOKEN, Answer, GitHubFake, github_fake
from support.github_tools import connected

AT = datetime(2026, 11, 21, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "github-prod")
POLLERS = {poller.name: poller for poller in ADAPTER.pollers}


class Eye:
    """Looks again and again, each time from where the last look ended."""

    def __init__(self, fake: GitHubFake, github: Any, poller: str) -> None:
        self.fake = fake
        self.cursor: Any = {}
        self._github = github
        self._poller = POLLERS[poller]

    async def look(self, **changes: Any) -> Polled:
        polled = await self._poller.fetch(self._github, Poll(ORIGIN, self.cursor | changes, AT))
        self.cursor = polled.cursor
        return polled

    async def told(self) -> list[tuple[str, str]]:
        return [(one.event.type, one.key) for one in (await self.look()).found]

    def run(self, number: int, **changes: Any) -> None:
        """A run comes, or becomes otherwise; the newest is listed first."""
        self.fake.runs[number] = self.fake.runs.get(number, self.fake.runs[1] | {"id": number}) | changes
        self.fake.runs = dict(sorted(self.fake.runs.items(), reverse=True))

    def happens(self, type_: str, id_: str, created_at: datetime = AT, **payload: Any) -> None:
        made = {
            "id": id_,
            "type": type_,
            "payload": payload,
            "created_at": created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        self.fake.events.insert(0, self.fake.events[0] | made)


@pytest.fixture
async def runs() -> AsyncIterator[Eye]:
    async with github_fake() as (address, fake), connected(address, TOKEN) as tools:
        yield Eye(fake, tools.github, "workflow_runs")


@pytest.fixture
async def events() -> AsyncIterator[Eye]:
    async with github_fake() as (address, fake), connected(address, TOKEN) as tools:
        yield Eye(fake, tools.github, "events")


async def test_runs_are_told_from_the_first_look_on_when_they_start_and_finish(runs):
    assert await runs.told() == []
    runs.run(4, status="in_progress", conclusion=None)
    assert await runs.told() == [("build.started", "4:1:started")]
    runs.run(4, status="completed", conclusion="failure")
    runs.run(2, status="completed", conclusion="success")
    runs.run(5, status="completed", conclusion="success")
    told = await runs.look()
    assert [(one.event.type, one.key) for one in told.found] == [
        ("build.finished", "2:1:finished"),
        ("build.finished", "4:1:finished"),
        ("build.finished", "5:1:finished"),
    ]
    failed = told.found[1].event
    repository = {"full_name": REPO}
    body = {
        "action": "completed",
        "workflow_run": runs.fake.runs[4],
        "workflow": {},
        "repository": repository,
    }
    [by_webhook] = WEBHOOKS.parse(
        Delivery({"x-github-event": "workflow_run"}, orjson.dumps(body), AT), ORIGIN
    )
    assert failed.identity == by_webhook.identity == "workflow_run:4:1:completed"
    assert (failed.failed, failed.subject, failed.workflow, failed.run_id) == (True, REPO, "CI", "4")
    assert failed.title.startswith("Build 'CI' failed on main of acme/shop")
    runs.run(1, run_attempt=2, status="queued", conclusion=None)
    assert await runs.told() == [("build.started", "1:2:started")]
    assert await runs.told() == []


async def test_a_look_that_finds_nothing_costs_no_quota_whichever_worker_makes_it():
    async with github_fake() as (address, fake):
        async with connected(address, TOKEN) as tools:
            first = Eye(fake, tools.github, "workflow_runs")
            await first.look()
        async with connected(address, TOKEN) as tools:
            other = Eye(fake, tools.github, "workflow_runs")
            other.cursor = first.cursor
            assert await other.told() == []
    assert [("if-none-match" in asked.headers) for asked in fake.asked] == [False, True]
    assert other.cursor == first.cursor


async def test_a_run_that_leaves_the_pages_unfinished_is_asked_for_until_it_ends_or_is_gone(
    runs, monkeypatch
):
    monkeypatch.setattr("devops_mcp.adapters.github.pollers.PAGE", 2)
    monkeypatch.setattr("devops_mcp.adapters.github.pollers.PAGES", 1)
    runs.run(2)
    runs.fake.runs.pop(3)
    await runs.look()
    for number in (4, 5):
        runs.run(number, status="completed", conclusion="success")
    assert await runs.told() == [("build.finished", "4:1:finished"), ("build.finished", "5:1:finished")]
    runs.run(2, status="completed", conclusion="success")
    runs.run(6, status="completed", conclusion="success")
    assert await runs.told() == [("build.finished", "6:1:finished"), ("build.finished", "2:1:finished")]


async def test_when_all_of_a_page_is_new_the_next_one_is_read_too(runs, monkeypatch):
    monkeypatch.setattr("devops_mcp.adapters.github.pollers.PAGE", 2)
    runs.run(3)
    await runs.look()
    for number in range(4, 8):
        runs.run(number, status="completed", conclusion="success")
    assert await runs.told() == [("build.finished", f"{number}:1:finished") for number in range(4, 8)]


async def test_events_are_told_once_as_their_webhooks_would_tell_them(events):
    assert await events.told() == []
    events.happens("PushEvent", "30", ref="refs/heads/main", head="a" * 40, before="b" * 40)
    events.happens(
        "PullRequestEvent",
        "31",
        action="opened",
        number=7,
        pull_request={"id": 1, "number": 7, "head": {"ref": "fix", "sha": "c" * 40}},
    )
    # It reaches the list late, and happened before the first look.
    events.happens("WatchEvent", "29", AT - timedelta(hours=1), action="started")
    polled = await events.look()
    assert [(one.event.type, one.key) for one in polled.found] == [
        ("code.pushed", "30"),
        ("activity.recorded", "31"),
    ]
    push, pull = (one.event for one in polled.found)
    assert (push.title, push.ref, push.commit) == (
        "Commits pushed to main of octocat/Hello-World",
        "refs/heads/main",
        "a" * 40,
    )
    assert pull.title.startswith("Pull request opened on octocat/Hello-World by octocat")
    assert polled.found[0].event.occurred_at == AT
    assert polled.pause == timedelta(seconds=90)
    unchanged = await events.look()
    assert (unchanged.found, unchanged.pause) == ([], timedelta(seconds=90))
    assert "if-none-match" in events.fake.asked[-1].headers
    assert await events.told() == []


async def test_what_github_refuses_is_an_error_and_the_cursor_stays(events):
    await events.look()
    before = events.cursor
    events.fake.next_answer = Answer(503, {"message": "unavailable"})
    with pytest.raises(UpstreamUnavailable):
        await events.look()
    events.fake.next_answer = Answer(
        429, {"message": "secondary rate limit", "documentation_url": "x"}, {"retry-after": "30"}
    )
    with pytest.raises(UpstreamRateLimited) as limited:
        await events.look()
    assert limited.value.retry_after_s == pytest.approx(30, abs=5)
    assert events.cursor == before


async def test_several_repositories_each_have_their_own_cursor_and_none_at_all_is_an_error():
    async with github_fake() as (address, fake):
        async with connected(address, TOKEN, default_repo=None) as tools:
            with pytest.raises(InvalidInput):
                await Eye(fake, tools.github, "events").look()
        async with connected(address, TOKEN, polled_repos=(REPO, "acme/cart")) as tools:
            eye = Eye(fake, tools.github, "workflow_runs")
            await eye.look()
            assert set(eye.cursor["repos"]) == {REPO, "acme/cart"}
            eye.run(9, status="completed", conclusion="success")
            subjects = [one.event.subject for one in (await eye.look()).found]
    assert subjects == [REPO, "acme/cart"]

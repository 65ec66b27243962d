"""How GitHub's quota is spared and kept to, against our fake (answers validated against npm @octokit/openapi)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from devops_mcp.models.errors import UpstreamRateLimited
from support.github_fake import TOKEN, Answer, GitHubFake, github_fake
from support.github_tools import Tools, connected

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
REFUSED = {"message": "API rate limit exceeded", "documentation_url": "https://docs.github.com/rest"}


class Watch:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, GitHubFake]]:
    async with github_fake() as server:
        yield server


@pytest.fixture
def fake(server: tuple[str, GitHubFake]) -> GitHubFake:
    return server[1]


@pytest.fixture
async def call(server: tuple[str, GitHubFake], watch: Watch) -> AsyncIterator[Tools]:
    async with connected(server[0], TOKEN, now=watch) as tools:
        yield tools


async def test_what_did_not_change_is_asked_for_with_its_etag(call: Tools, fake: GitHubFake) -> None:
    first = await call("actions_read", action="run", run_id=1)
    second = await call("actions_read", action="run", run_id=1)
    fake.runs[1]["conclusion"] = "success"
    third = await call("actions_read", action="run", run_id=1)

    assert second == first
    assert third["run"]["conclusion"] == "success"
    asked = [asked.headers.get("if-none-match") for asked in fake.asked]
    assert asked[0] is None
    assert asked[1] == asked[2] != None  # noqa: E711


async def test_each_page_and_media_type_has_an_etag_of_its_own(call: Tools, fake: GitHubFake) -> None:
    page = await call("actions_read", limit=1)
    await call("actions_read", limit=1, cursor=page["next_cursor"])
    await call("actions_read", limit=2)
    await call("pr_read", number=1)
    await call("pr_read", number=1, action="diff")

    assert [asked.headers.get("if-none-match") for asked in fake.asked] == [None] * 5


async def test_without_room_for_answers_none_are_kept(server: tuple[str, GitHubFake]) -> None:
    address, fake = server
    async with connected(address, TOKEN, cache_entries=0) as call:
        await call("actions_read", action="run", run_id=1)
        await call("actions_read", action="run", run_id=1)

    assert [asked.headers.get("if-none-match") for asked in fake.asked] == [None, None]


async def test_a_used_up_limit_is_not_asked_again_before_it_resets(
    call: Tools, fake: GitHubFake, watch: Watch
) -> None:
    reset = NOON + timedelta(minutes=10)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(reset.timestamp()))}
    fake.next_answer = Answer(403, REFUSED, headers)

    with pytest.raises(UpstreamRateLimited) as refused:
        await call("actions_read")
    with pytest.raises(UpstreamRateLimited) as kept_back:
        await call("actions_read")

    assert refused.value.retry_after_s == kept_back.value.retry_after_s == 600
    assert len(fake.asked) == 1
    watch.time = reset
    assert (await call("actions_read"))["total"] == 3


async def test_the_last_request_of_a_limit_counts_as_its_end(
    call: Tools, fake: GitHubFake, watch: Watch
) -> None:
    headers = {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int((NOON + timedelta(seconds=30)).timestamp())),
    }
    fake.next_answer = Answer(200, fake.runs[1], headers)
    await call("actions_read", action="run", run_id=1)

    with pytest.raises(UpstreamRateLimited, match="limit for core is used up for another 30 s"):
        await call("actions_read", action="run", run_id=1)


async def test_code_search_has_a_limit_of_its_own(call: Tools, fake: GitHubFake) -> None:
    reset = str(int((NOON + timedelta(seconds=60)).timestamp()))
    headers = {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": reset,
        "x-ratelimit-resource": "code_search",
    }
    fake.next_answer = Answer(403, REFUSED, headers)

    with pytest.raises(UpstreamRateLimited):
        await call("search", kind="code", query="x")
    with pytest.raises(UpstreamRateLimited, match="code search"):
        await call("search", kind="code", query="x")

    assert (await call("search", kind="commits", query="x"))["items"]
    assert (await call("actions_read"))["total"] == 3


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [(403, {"retry-after": "90"}, 90), (403, {}, 60), (429, {"retry-after": "5"}, 5), (429, {}, 60)],
)
async def test_a_secondary_limit_stops_everything_for_as_long_as_it_says(
    call: Tools, fake: GitHubFake, watch: Watch, status: int, headers: dict[str, str], wait_s: float
) -> None:
    message = {
        "message": "You have exceeded a secondary rate limit. Please wait.",
        "documentation_url": "https://docs.github.com",
    }
    fake.next_answer = Answer(status, message, headers)

    with pytest.raises(UpstreamRateLimited, match="secondary rate limit") as refused:
        await call("actions_run", action="rerun", run_id=1)
    with pytest.raises(UpstreamRateLimited):
        await call("search", kind="commits", query="x")

    assert refused.value.retry_after_s == wait_s
    assert len(fake.asked) == 1
    watch.time += timedelta(seconds=wait_s)
    assert (await call("actions_read"))["total"] == 3


async def test_a_lack_of_rights_is_no_rate_limit(call: Tools, fake: GitHubFake) -> None:
    fake.next_answer = Answer(
        403, {"message": "Must have admin rights", "documentation_url": "https://docs.github.com"}
    )

    with pytest.raises(Exception, match="Must have admin rights") as refused:
        await call("actions_read")

    assert not isinstance(refused.value, UpstreamRateLimited)
    assert (await call("actions_read"))["total"] == 3

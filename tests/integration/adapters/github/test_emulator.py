"""GitHub's tools against a stateful emulator that others wrote (npm emulate 0.12.2): what one tool writes, another reads."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.github import ADAPTER
from devops_mcp.adapters.github.webhooks import WEBHOOKS
from devops_mcp.events.model import IssueChanged
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import InvalidInput, UpstreamNotFound, UpstreamRejected
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.github_emulator import LOGIN, REPO, REVIEWER, REVIEWER_TOKEN, TOKEN, github_emulator
from support.github_tools import Tools, connected
from support.servers import serve


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with github_emulator() as address:
        yield address


@pytest.fixture
async def call(address: str) -> AsyncIterator[Tools]:
    async with connected(address, TOKEN) as tools:
        yield tools


@pytest.fixture
async def reviewer(address: str) -> AsyncIterator[Tools]:
    async with connected(address, REVIEWER_TOKEN) as tools:
        yield tools


async def head_of(call: Tools, ref: str = "main") -> str:
    sha = (await call("commit_read", action="get", ref=ref))["commit"]["sha"]
    assert isinstance(sha, str)
    return sha


async def branch_with_change(call: Tools, branch: str = "fix/login", text: str = "print('fixed')\n") -> str:
    """A branch with one commit on top of main; its head."""
    await call("files_write", action="create_branch", branch=branch, from_sha=await head_of(call))
    done = await call(
        "files_write",
        action="commit",
        branch=branch,
        message="Fix the login\n\nIt was broken.",
        files=[{"path": "src/login.py", "text": text}],
    )
    return str(done["data"]["sha"])


async def open_pull_request(call: Tools, branch: str = "fix/login") -> tuple[int, str]:
    """Its number, and the head of its branch."""
    sha = await branch_with_change(call, branch)
    done = await call(
        "pr_write", action="create", title="Fix the login", head=branch, base="main", body="Closes #1"
    )
    return done["data"]["number"], sha


async def test_the_adapter_pings_and_knows_who_it_is(call: Tools) -> None:
    assert await ADAPTER.ping(call.github) is None

    me = await call("me")

    assert me["user"]["login"] == LOGIN
    assert me["quotas"]["core"]["limit"] == 5000


async def test_an_issue_is_created_labelled_commented_on_and_closed(call: Tools) -> None:
    created = await call(
        "issue_write", action="create", title="Checkout is slow", body="Since Monday.", labels=["bug"]
    )
    number = created["data"]["number"]
    assert created["done"] == f"created issue 'Checkout is slow' in {REPO}"
    await call("issue_write", action="comment", number=number, body="Seen on staging too.")
    await call("issue_write", action="add_labels", number=number, labels=["performance"])
    await call("issue_write", action="update", number=number, state="closed", state_reason="not_planned")

    issue = (await call("issue_read", number=number))["issue"]
    comments = (await call("issue_read", number=number, action="comments"))["comments"]
    timeline = (await call("issue_read", number=number, action="timeline"))["timeline"]

    assert (issue["title"], issue["body"], issue["by"]) == ("Checkout is slow", "Since Monday.", LOGIN)
    assert (issue["state"], sorted(issue["labels"])) == ("closed", ["bug", "performance"])
    assert [(c["by"], c["body"]) for c in comments] == [(LOGIN, "Seen on staging too.")]
    assert "closed" in {entry.get("event") for entry in timeline}
    assert created["url"] == issue["url"]


async def test_issues_are_paged_to_the_end(call: Tools) -> None:
    for number in range(1, 6):
        await call("issue_write", action="create", title=f"Issue {number}")

    titles, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = await call("issue_list", limit=2, cursor=cursor, sort="created", direction="asc")
        titles += [issue["title"] for issue in page["items"]]
        cursor, pages = page.get("next_cursor"), pages + 1
        assert len(page["items"]) <= 2

    assert titles == [f"Issue {number}" for number in range(1, 6)]
    assert pages == 3


async def test_files_are_committed_together_read_and_listed(call: Tools) -> None:
    before = await head_of(call)
    files = [
        {"path": "src/app.py", "text": "a = 1\nb = 2\nc = 3\n"},
        {"path": "docs/größe & more?.md", "text": "# Größe\n"},
    ]
    done = await call("files_write", action="commit", branch="main", message="Add files", files=files)

    whole = (await call("file_read", path="docs/größe & more?.md"))["file"]
    lines = (await call("file_read", path="src/app.py", start_line=2, end_line=2))["file"]
    folder = (await call("file_read", action="list", path="src"))["entries"]
    tree = (await call("file_read", action="tree", path="src"))["entries"]
    commit = (await call("commit_read", action="get", ref="main"))["commit"]

    assert done["data"] == {"sha": commit["sha"], "parent": before}
    assert whole["text"] == "# Größe\n"
    assert (lines["text"], lines["start_line"], lines["lines_total"]) == ("b = 2\n", 2, 3)
    assert [(entry["path"], entry["kind"]) for entry in folder] == [("src/app.py", "file")]
    assert [entry["path"] for entry in tree] == ["src/app.py"]
    assert sorted(file["path"] for file in commit["files"]) == ["docs/größe & more?.md", "src/app.py"]


async def test_one_file_is_written_replaced_only_by_who_has_seen_it_and_deleted(call: Tools) -> None:
    await call("files_write", action="put", branch="main", path="NOTES.md", text="one", message="Note")
    seen = (await call("file_read", path="NOTES.md"))["file"]["sha"]
    put = {"action": "put", "branch": "main", "path": "NOTES.md", "message": "Note"}
    await call("files_write", **put, text="two", sha=seen)

    with pytest.raises(UpstreamRejected):
        await call("files_write", **put, text="three", sha=seen)
    now = (await call("file_read", path="NOTES.md"))["file"]
    assert now["text"] == "two"

    await call("files_write", action="delete", branch="main", path="NOTES.md", message="Drop", sha=now["sha"])
    with pytest.raises(UpstreamNotFound):
        await call("file_read", path="NOTES.md")


async def test_a_commit_is_refused_when_the_branch_moved(call: Tools) -> None:
    seen = await head_of(call)
    commit = {"action": "commit", "branch": "main", "message": "Change", "expected_head_sha": seen}
    await call("files_write", **commit, files=[{"path": "a", "text": "1"}])
    moved = await head_of(call)

    with pytest.raises(UpstreamRejected, match=f"main of acme/shop is at {moved}"):
        await call("files_write", **commit, files=[{"path": "a", "text": "2"}])

    assert await head_of(call) == moved


async def test_history_is_listed_and_compared(call: Tools) -> None:
    await branch_with_change(call)

    history = (await call("commit_read", ref="fix/login"))["commits"]
    compared = (await call("commit_read", action="compare", base="main", head="fix/login"))["comparison"]
    plain = (await call("commit_read", action="compare", base="main", head="fix/login", patches=False))[
        "comparison"
    ]

    assert [commit["subject"] for commit in history] == ["Fix the login", "Initial commit"]
    assert (compared["ahead_by"], compared["behind_by"]) == (1, 0)
    assert compared["files"][0]["path"] == "src/login.py"
    assert "patch" not in plain["files"][0]


async def test_a_pull_request_goes_from_opening_to_merge(call: Tools, reviewer: Tools) -> None:
    number, sha = await open_pull_request(call)
    await call("pr_write", action="request_reviewers", number=number, reviewers=[REVIEWER])
    opened = (await call("pr_read", number=number))["pull_request"]
    commits = (await call("pr_read", number=number, action="commits"))["commits"]
    listed = (await call("pr_list", head="acme:fix/login"))["items"]

    assert (opened["head"], opened["head_sha"], opened["base"], opened["state"]) == (
        "fix/login",
        sha,
        "main",
        "open",
    )
    assert opened["reviewers"] == [REVIEWER]
    assert (commits[-1]["subject"], commits[-1]["sha"]) == ("Fix the login", sha)
    assert [pull["number"] for pull in listed] == [number]

    await reviewer(
        "pr_review_write", action="review", number=number, event="APPROVE", body="Good.", commit_sha=sha
    )
    reviews = (await call("pr_read", number=number, action="reviews"))["reviews"]
    assert [(review["by"], review["state"]) for review in reviews] == [(REVIEWER, "APPROVED")]

    merged = await call("pr_merge", number=number, sha=sha, method="squash")
    after = (await call("pr_read", number=number))["pull_request"]
    assert merged["data"]["merged"] is True
    assert (after["merged"], after["state"]) == (True, "closed")


async def test_a_merge_of_another_commit_than_the_head_is_refused(call: Tools) -> None:
    number, _ = await open_pull_request(call)

    with pytest.raises(UpstreamRejected):
        await call("pr_merge", number=number, sha=await head_of(call))

    assert (await call("pr_read", number=number))["pull_request"]["state"] == "open"


async def test_a_review_is_pending_until_it_is_submitted(call: Tools, reviewer: Tools) -> None:
    number, sha = await open_pull_request(call)
    started = await reviewer("pr_review_write", action="start", number=number, body="See.", commit_sha=sha)
    assert started["data"]["state"] == "PENDING"

    submit = {"action": "submit", "number": number, "review_id": started["data"]["id"]}
    await reviewer("pr_review_write", **submit, event="REQUEST_CHANGES", body="Why print?")
    reviews = (await call("pr_read", number=number, action="reviews"))["reviews"]

    assert [(review["state"], review["body"]) for review in reviews] == [("CHANGES_REQUESTED", "Why print?")]


async def test_search_finds_issues_code_and_repositories(call: Tools) -> None:
    await call("issue_write", action="create", title="Checkout is slow")
    await call(
        "files_write", action="put", branch="main", path="pay.py", text="def checkout(): ...", message="Add"
    )

    issues = await call("search", kind="issues", query="is:issue checkout", repo=REPO)
    code = await call("search", kind="code", query="checkout", repo=REPO)
    repositories = await call("search", kind="repositories", query="shop user:acme")

    assert [(hit["title"], hit["number"], hit["is_pull_request"]) for hit in issues["items"]] == [
        ("Checkout is slow", 1, False)
    ]
    assert issues["total"] == 1
    assert [hit["path"] for hit in code["items"]] == ["pay.py"]
    assert [hit["repo"] for hit in repositories["items"]] == [REPO]


async def test_a_release_is_read_with_its_notes(call: Tools) -> None:
    body = {"tag_name": "v1.2.0", "name": "Spring", "body": "Faster.\nSafer.", "target_commitish": "main"}
    await call.github.send("POST", "/repos/acme/shop/releases", body)

    listed = (await call("release_read"))["releases"]
    latest = (await call("release_read", action="latest"))["release"]
    tagged = (await call("release_read", action="get", tag="v1.2.0"))["release"]

    assert [(release["tag"], release["excerpt"]) for release in listed] == [("v1.2.0", "Faster. Safer.")]
    assert latest["body"] == "Faster.\nSafer."
    assert tagged == latest


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(call: Tools) -> None:
    number, sha = await open_pull_request(call)
    before = await head_of(call)

    merge = await call("pr_merge", number=number, sha=sha, dry_run=True)
    create = await call("issue_write", action="create", title="Not now", dry_run=True)
    commit = await call(
        "files_write",
        action="commit",
        branch="main",
        message="No",
        files=[{"path": "a", "text": "1"}],
        dry_run=True,
    )

    assert merge["dry_run"] is True
    assert merge["done"] == f"would merge acme/shop#{number} at {sha[:7]} (merge)"
    assert merge["data"]["requests"][0]["path"] == f"/repos/acme/shop/pulls/{number}/merge"
    assert create["data"]["requests"][0]["body"] == {"title": "Not now"}
    assert commit["done"] == "would commit 1 files to main of acme/shop: No"
    assert (await call("issue_list"))["items"] == []
    assert (await call("pr_read", number=number))["pull_request"]["state"] == "open"
    assert await head_of(call) == before


async def test_what_is_not_there_or_not_allowed_is_told_apart(call: Tools, address: str) -> None:
    with pytest.raises(UpstreamNotFound, match="or the token may not see it"):
        await call("issue_read", number=404)
    with pytest.raises(UpstreamNotFound):
        await call("issue_list", repo="acme/nothing")
    await call("files_write", action="put", branch="main", path="src/a.py", text="x", message="Add")
    with pytest.raises(InvalidInput, match="is a folder"):
        await call("file_read", path="src")
    async with connected(address, "nobody's token", default_repo=None) as stranger:
        with pytest.raises(InvalidInput, match="argument 'repo' is missing"):
            await stranger("issue_list")


@pytest.mark.parametrize("path", ["../../../user", "a/../../secrets", "..", "."])
async def test_a_path_never_leaves_its_repository(call: Tools, path: str) -> None:
    """I11: dots are refused before anything is sent."""
    with pytest.raises(InvalidInput, match="cannot be part of a path"):
        await call("file_read", path=path)


@pytest.mark.parametrize("path", ["a?ref=x", "a#f", "%2e%2e/x", "a;/b", "a\\b", " a "])
async def test_a_path_is_sent_as_it_is_written(call: Tools, path: str) -> None:
    """I11: every other character is encoded, and means itself."""
    await call("files_write", action="put", branch="main", path=path, text=path, message="Odd")

    assert (await call("file_read", path=path))["file"]["text"] == path
    tree = (await call("file_read", action="tree"))["entries"]
    assert path in {entry["path"] for entry in tree}


async def test_the_emulators_own_webhook_verifies_and_becomes_an_event(call: Tools) -> None:
    """Signed by other people's code: over their bytes, not ours."""
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    async def receive(request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        arrived.put_nowait(Delivery(headers, await request.body(), utc_now()))
        return Response(status_code=202)

    async with serve(Router([Route("/", receive, methods=["POST"])])) as hook:
        config = {"url": f"{hook}/", "secret": "a shared secret", "content_type": "json"}
        await call.github.send("POST", "/repos/acme/shop/hooks", {"events": ["issues"], "config": config})
        await call("issue_write", action="create", title="Checkout is slow", body="Very.")
        async with asyncio.timeout(30):
            delivery = await arrived.get()
            while delivery.headers["x-github-event"] != "issues":
                delivery = await arrived.get()

    WEBHOOKS.verify(delivery, (SecretStr("a shared secret"),))
    [event] = WEBHOOKS.parse(delivery, Origin(DEFAULT_TENANT_ID, "github-prod"))

    assert isinstance(event, IssueChanged)
    assert (event.subject, event.number, event.action, event.body) == (REPO, "1", "opened", "Very.")
    assert event.title == "Issue #1 opened in acme/shop: Checkout is slow"
    assert WEBHOOKS.delivery_key(delivery)
    assert json.loads(delivery.body)["action"] == "opened"

"""GitHub's tools against a fake of our own whose every answer is validated against GitHub's description (npm @octokit/openapi 23.0.2)."""

from collections.abc import AsyncIterator

import pytest

from devops_mcp.models.errors import UpstreamInvalid, UpstreamRejected, UpstreamUnauthorized
from support.github_fake import DIFF, HEAD, RENAMED, SECRET, TOKEN, Answer, GitHubFake, github_fake
from support.github_openapi import documented_example
from support.github_tools import Tools, connected
from support.servers import Answers, serve

LOG = b"""\xef\xbb\xbf2026-11-01T10:00:00.1000000Z ##[group]Set up
2026-11-01T10:00:03.0000000Z Preparing the runner
2026-11-01T10:00:06.5000000Z \x1b[36mrunning 2 tests\x1b[0m
2026-11-01T10:00:07.0000000Z FAILED test_checkout
  a line of its traceback
2026-11-01T10:00:08.0000000Z ##[error]Process completed with exit code 1.
2026-11-01T10:00:20.0000000Z Cleaning up orphan processes
"""
LINE = {"path": "src/login.py", "line": 3, "body": "Why?"}


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, GitHubFake]]:
    async with github_fake() as server:
        yield server


@pytest.fixture
def fake(server: tuple[str, GitHubFake]) -> GitHubFake:
    return server[1]


@pytest.fixture
async def call(server: tuple[str, GitHubFake]) -> AsyncIterator[Tools]:
    async with connected(server[0], TOKEN) as tools:
        yield tools


async def test_runs_are_listed_filtered_and_paged(call: Tools) -> None:
    first = await call("actions_read", limit=2)
    second = await call("actions_read", limit=2, cursor=first["next_cursor"])
    failed = await call("actions_read", workflow="ci.yml", status="failure")

    assert [run["id"] for run in first["runs"] + second["runs"]] == [1, 2, 3]
    assert first["total"] == 3
    assert "next_cursor" not in second
    assert [(run["id"], run["conclusion"]) for run in failed["runs"]] == [(1, "failure")]


async def test_issues_are_listed_without_pull_requests_and_a_page_of_these_alone_is_turned(
    call: Tools, fake: GitHubFake
) -> None:
    [pull] = fake.issues
    issue = {name: value for name, value in pull.items() if name != "pull_request"} | {"number": 7}
    fake.issues = [pull, pull, issue, pull]

    first = await call("issue_list", limit=1)
    second = await call("issue_list", limit=1, cursor=first["next_cursor"])

    assert [one["number"] for one in first["items"]] == [7]
    assert (second["items"], "next_cursor" in second) == ([], False)


async def test_a_run_tells_its_jobs_steps_and_artifacts(call: Tools) -> None:
    run = (await call("actions_read", action="run", run_id=2))["run"]
    jobs = (await call("actions_read", action="jobs", run_id=1))["jobs"]
    artifacts = (await call("actions_read", action="artifacts", run_id=1))["artifacts"]
    workflows = (await call("actions_read", action="workflows"))["workflows"]

    assert (run["workflow"], run["branch"], run["status"], "conclusion" in run) == (
        "CI",
        "main",
        "in_progress",
        False,
    )
    assert [(job["name"], job["conclusion"]) for job in jobs] == [
        ("lint", "success"),
        ("test", "failure"),
        ("e2e", "timed_out"),
    ]
    assert jobs[1]["steps"][1] | {"name": "Run test", "conclusion": "failure"} == jobs[1]["steps"][1]
    assert artifacts[0]["size_bytes"] > 0
    assert workflows[0]["path"].startswith(".github/workflows/")


async def test_logs_of_a_failed_run_are_those_of_its_failed_steps(call: Tools, fake: GitHubFake) -> None:
    fake.logs = {12: LOG, 13: b"2026-11-01T10:00:06.0Z timed out\n"}

    shown = await call("job_logs", action="run", run_id=1)

    assert [(log["name"], log["failed_steps"]) for log in shown["jobs"]] == [
        ("test", ["Run test"]),
        ("e2e", ["Run e2e"]),
    ]
    assert shown["jobs"][0]["text"].splitlines() == [
        "running 2 tests",
        "FAILED test_checkout",
        "  a line of its traceback",
        "##[error]Process completed with exit code 1.",
    ]
    assert (shown["jobs"][0]["lines_total"], shown["jobs"][0]["lines_kept"]) == (7, 4)


async def test_a_log_is_cut_to_its_tail_and_to_what_was_looked_for(call: Tools, fake: GitHubFake) -> None:
    fake.logs = {12: LOG}

    tail = (await call("job_logs", action="job", job_id=12, failed_only=False, tail=1))["jobs"][0]
    found = (await call("job_logs", action="job", job_id=12, failed_only=False, grep="Traceback|ORPHAN"))[
        "jobs"
    ][0]
    around = (
        await call("job_logs", action="job", job_id=12, failed_only=False, grep="traceback", context=1)
    )["jobs"][0]

    assert tail["text"] == "Cleaning up orphan processes"
    assert found["text"] == "  a line of its traceback\nCleaning up orphan processes"
    assert (
        around["text"]
        == "FAILED test_checkout\n  a line of its traceback\n##[error]Process completed with exit code 1."
    )


async def test_the_log_is_fetched_from_elsewhere_without_our_credentials(
    call: Tools, fake: GitHubFake
) -> None:
    """I07: another origin never sees the token."""
    fake.logs = {12: LOG}

    await call("job_logs", action="job", job_id=12)

    assert [("authorization" in headers, TOKEN in str(headers)) for headers in fake.downloads] == [
        (False, False)
    ]


async def test_a_log_is_read_no_further_than_its_limit(server: tuple[str, GitHubFake]) -> None:
    address, fake = server
    fake.logs = {12: b"".join(b"line %d\n" % number for number in range(100_000))}

    async with connected(address, TOKEN, max_log_bytes=10_000) as call:
        log = (await call("job_logs", action="job", job_id=12, failed_only=False, tail=3))["jobs"][0]

    assert log["cut"] is True
    assert log["lines_total"] < 2_000
    assert len(log["text"].splitlines()) == 3


async def test_a_run_is_started_repeated_and_cancelled(call: Tools, fake: GitHubFake) -> None:
    started = await call(
        "actions_run", action="dispatch", workflow="deploy.yml", ref="main", inputs={"env": "staging"}
    )
    runs = (await call("actions_read"))["runs"]
    await call("actions_run", action="rerun_failed", run_id=1)
    await call("actions_run", action="rerun_job", job_id=12)
    await call("actions_run", action="cancel", run_id=2)

    assert started["done"] == "started workflow deploy.yml on main in acme/shop"
    assert fake.changes()[0].body == {"ref": "main", "inputs": {"env": "staging"}}
    assert runs[-1] | {"event": "workflow_dispatch", "status": "queued"} == runs[-1]
    assert (await call("actions_read", action="run", run_id=1))["run"]["attempt"] == 2
    assert (await call("actions_read", action="run", run_id=2))["run"]["conclusion"] == "cancelled"
    with pytest.raises(UpstreamRejected, match="409: Cannot cancel"):
        await call("actions_run", action="cancel", run_id=2)


async def test_a_dry_run_of_a_workflow_sends_nothing(call: Tools, fake: GitHubFake) -> None:
    planned = await call("actions_run", action="rerun", run_id=1, dry_run=True)

    assert planned["done"] == "would run run 1 in acme/shop again"
    assert fake.asked == []


async def test_deployments_are_read_with_their_statuses(call: Tools) -> None:
    listed = (await call("deployment_read", environment="production"))["deployments"]
    one = await call("deployment_read", action="get", deployment_id=1)
    environments = (await call("deployment_read", action="environments"))["environments"]

    assert [(d["id"], d["ref"], d["environment"]) for d in listed] == [(1, "topic-branch", "production")]
    assert (await call("deployment_read", environment="nowhere"))["deployments"] == []
    assert [status["state"] for status in one["statuses"]] == ["success"]
    assert environments[0]["name"] == "staging"
    assert {"type": "wait_timer", "wait_minutes": 30} in environments[0]["protection"]


async def test_code_scanning_alerts_say_what_and_where(call: Tools) -> None:
    [alert] = (await call("security_read", kind="code_scanning"))["alerts"]

    assert (alert["number"], alert["title"]) == (4, "Arbitrary file write during zip extraction")
    assert (alert["where"], alert["rule"]) == ("spec-main/api-session-spec.ts:917", "js/zipslip")


async def test_dependency_alerts_say_which_version_mends_them(call: Tools) -> None:
    alert = (await call("security_read", kind="dependabot", number=1))["alert"]

    assert alert["state"] == "open"
    assert alert["where"] == "pip:ansible in path/to/requirements.txt"
    assert alert["fixed_in"]
    assert any(identifier.startswith("CVE-") for identifier in alert["identifiers"])


@pytest.mark.parametrize("number", [None, 2])
async def test_a_leaked_secret_is_asked_to_be_hidden_and_never_shown(
    call: Tools, fake: GitHubFake, number: int | None
) -> None:
    shown = await call("security_read", kind="secret_scanning", number=number, state="resolved")

    assert SECRET not in str(shown)
    assert fake.asked[0].query["hide_secret"] == "true"
    alert = shown["alert"] if number else shown["alerts"][0]
    assert alert["title"] == "Adafruit IO Key"


async def test_a_secret_that_github_shows_all_the_same_goes_no_further(call: Tools, fake: GitHubFake) -> None:
    """An older Enterprise server does not know `hide_secret`."""
    fake.next_answer = Answer(200, fake.alerts["secret-scanning"])

    shown = await call("security_read", kind="secret_scanning", state="resolved")

    assert len(shown["alerts"]) == len(fake.alerts["secret-scanning"])
    assert SECRET not in str(shown)


async def test_a_pull_request_shows_its_diff_and_files(call: Tools) -> None:
    diff = (await call("pr_read", number=1347, action="diff"))["diff"]
    files = (await call("pr_read", number=1347, action="files"))["files"]

    assert diff == DIFF
    assert files[0]["path"] == "file1.txt"
    assert files[0]["patch"].startswith("@@")


async def test_checks_and_statuses_are_told_together_the_failed_first(call: Tools, fake: GitHubFake) -> None:
    run = fake.check_runs[0]
    fake.check_runs = [
        run | {"name": "lint", "conclusion": "failure"},
        run | {"name": "unit", "conclusion": "success"},
    ]
    fake.statuses = [fake.statuses[0] | {"context": "ci/jenkins", "state": "pending"}]

    checks = (await call("pr_read", number=1347, action="checks"))["checks"]

    assert (checks["sha"], checks["state"]) == (HEAD, "failure")
    assert [[c["name"] for c in checks[part]] for part in ("failed", "pending", "passed")] == [
        ["lint"],
        ["ci/jenkins"],
        ["unit"],
    ]


async def test_comments_on_lines_are_written_and_answered(call: Tools, fake: GitHubFake) -> None:
    await call("pr_review_write", number=1, action="comment", comment=LINE, commit_sha=HEAD)
    await call("pr_review_write", number=1, action="reply", comment_id=10, body="Because.")
    await call("pr_review_write", number=1, action="start", comments=[LINE], commit_sha=HEAD)
    await call("pr_write", action="update_branch", number=1, expected_head_sha=HEAD)

    asked = [
        (asked.method, asked.path.removeprefix("/repos/acme/shop/pulls/1/"), asked.body)
        for asked in fake.changes()
    ]
    assert asked == [
        ("POST", "comments", LINE | {"side": "RIGHT", "commit_id": HEAD}),
        ("POST", "comments/10/replies", {"body": "Because."}),
        ("POST", "reviews", {"commit_id": HEAD, "comments": [LINE | {"side": "RIGHT"}]}),
        ("PUT", "update-branch", {"expected_head_sha": HEAD}),
    ]


async def test_sub_issues_and_hits_in_code_and_commits_have_their_shapes(call: Tools) -> None:
    sub_issues = (await call("issue_read", number=1, action="sub_issues"))["sub_issues"]
    code = (await call("search", kind="code", query="addClass"))["items"]
    commits = (await call("search", kind="commits", query="fix", sort="author-date"))["items"]

    assert sub_issues[0]["number"] == 1347
    assert code[0]["path"] == code[0]["title"]
    assert code[0]["repo"].count("/") == 1
    assert len(commits[0]["sha"]) == 40


async def test_scopes_are_told_with_the_account(call: Tools, fake: GitHubFake) -> None:
    user = documented_example("GET", "/user", 200)
    fake.next_answer = Answer(200, user, {"x-oauth-scopes": "repo, read:org"})

    me = await call("me")

    assert me["user"]["login"] == user["login"]
    assert me["scopes"] == ["repo", "read:org"]
    assert me["quotas"]["code_search"]["limit"] > 0


async def test_a_renamed_repository_is_followed(call: Tools, fake: GitHubFake) -> None:
    runs = (await call("actions_read", repo=RENAMED, status="failure", limit=5))["runs"]

    assert [run["id"] for run in runs] == [1]
    assert [asked.path.split("/")[3] for asked in fake.asked] == ["store", "shop"]
    assert fake.asked[1].query == {"status": "failure", "per_page": "5"}


async def test_a_redirect_to_another_origin_is_not_followed(call: Tools, fake: GitHubFake) -> None:
    """I07: a hop elsewhere is refused before a request, so the token stays."""
    elsewhere = Answers()
    async with serve(elsewhere) as origin:
        fake.next_answer = Answer(
            301, {"message": "Moved", "url": origin, "documentation_url": origin}, {"location": f"{origin}/x"}
        )
        with pytest.raises(UpstreamInvalid, match="another origin"):
            await call("actions_read", action="run", run_id=1)

    assert elsewhere.requests == []


async def test_a_missing_scope_is_named(call: Tools, fake: GitHubFake) -> None:
    headers = {"x-oauth-scopes": "public_repo", "x-accepted-oauth-scopes": "repo, admin:org"}
    body = {"message": "Resource not accessible", "documentation_url": "https://docs.github.com/rest"}
    fake.next_answer = Answer(403, body, headers)

    with pytest.raises(UpstreamUnauthorized) as refusal:
        await call("deployment_read")

    assert refusal.value.message == (
        "github answered 403: token lacks scope 'repo' or 'admin:org' (it has public_repo): Resource not accessible"
    )


async def test_a_refused_token_is_not_repeated(server: tuple[str, GitHubFake]) -> None:
    """K01: no credential in an error."""
    async with connected(server[0], "ghp_an-old-token") as call:
        with pytest.raises(UpstreamUnauthorized) as refusal:
            await call("deployment_read")

    assert refusal.value.message == "github answered 401: Bad credentials; check the integration's token"


async def test_what_github_finds_wrong_is_passed_on(call: Tools, fake: GitHubFake) -> None:
    errors = [
        {"resource": "PullRequest", "field": "base", "code": "invalid"},
        {"code": "custom", "message": "No commits between main and fix"},
    ]
    fake.next_answer = Answer(
        422,
        {"message": "Validation Failed", "documentation_url": "https://docs.github.com", "errors": errors},
    )

    with pytest.raises(
        UpstreamRejected, match=r"422: Validation Failed \(base: invalid; No commits between main and fix\)"
    ):
        await call("pr_review_write", number=1, action="comment", comment=LINE, commit_sha=HEAD)

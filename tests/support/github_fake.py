"""A small stateful GitHub of our own, for what the emulator lacks: Actions, deployments, alerts, checks, diffs, ETags, limits.

Its state begins as the examples in GitHub's own description (npm @octokit/openapi), and **every answer is validated** against that
description before it is sent; one that does not fit answers 599 with the fault, so that the test fails and says why.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router

from support.github_openapi import documented_example, validate_answer
from support.servers import serve

TOKEN = "ghp_a-token-of-the-fake"
REPO = "acme/shop"
RENAMED = "acme/store"
"""Its older name, which redirects."""
R = "/repos/{owner}/{repo}"
SECRET = "AKIA-the-leaked-secret"
DIFF = "diff --git a/src/login.py b/src/login.py\n+print('fixed')\n"
HEAD = "6dcb09b5b57875f334f61aebed695e2e4193db5e"


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    text: str | None = None


Handler = Callable[[Request], Awaitable[Answer]]


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


def _example(template: str, method: str = "GET", status: int = 200) -> Any:
    return documented_example(method, R + template, status)


def _jobs() -> dict[int, dict[str, Any]]:
    base: dict[str, Any] = _example("/actions/runs/{run_id}/jobs")["jobs"][0] | {
        "created_at": "2026-11-01T10:00:00Z",
        "run_id": 1,
    }
    jobs = {}
    for number, (name, conclusion) in enumerate(
        [("lint", "success"), ("test", "failure"), ("e2e", "timed_out")], 11
    ):
        step = {
            "status": "completed",
            "started_at": "2026-11-01T10:00:05Z",
            "completed_at": "2026-11-01T10:00:10Z",
        }
        steps = [
            step
            | {
                "name": "Set up",
                "number": 1,
                "conclusion": "success",
                "completed_at": "2026-11-01T10:00:04Z",
            },
            step
            | {"name": f"Run {name}", "number": 2, "conclusion": "success" if name == "lint" else "failure"},
        ]
        steps[0]["started_at"] = "2026-11-01T10:00:00Z"
        jobs[number] = base | {
            "id": number,
            "name": name,
            "conclusion": conclusion,
            "status": "completed",
            "steps": steps,
        }
    return jobs


def _runs() -> dict[int, dict[str, Any]]:
    base: dict[str, Any] = _example("/actions/runs")["workflow_runs"][0]
    kinds = [(1, "failure", "completed"), (2, None, "in_progress"), (3, "success", "completed")]
    return {
        number: base
        | {"id": number, "conclusion": conclusion, "status": status, "name": "CI", "head_branch": "main"}
        for number, conclusion, status in kinds
    }


def _dependabot() -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = _example("/dependabot/alerts")
    for alert in alerts:
        alert["security_advisory"].pop(
            "epss", None
        )  # the example's figures are texts, which its own schema refuses
    return alerts


class GitHubFake:
    """The application. Tests read `asked` and change the rest."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.downloads: list[dict[str, str]] = []
        self.log_origin = ""
        self.logs: dict[int, bytes] = {}
        self.runs, self.jobs = _runs(), _jobs()
        self.alerts: dict[str, list[dict[str, Any]]] = {
            "code-scanning": _example("/code-scanning/alerts"),
            "dependabot": _dependabot(),
            "secret-scanning": [alert | {"secret": SECRET} for alert in _example("/secret-scanning/alerts")],
        }
        self.deployments: list[dict[str, Any]] = _example("/deployments")
        self.check_runs: list[dict[str, Any]] = _example("/commits/{ref}/check-runs")["check_runs"]
        self.statuses: list[dict[str, Any]] = _example("/commits/{ref}/status")["statuses"]
        self.events: list[dict[str, Any]] = _example("/events")
        self.issues: list[dict[str, Any]] = _example("/issues")
        """The example is a pull request, as GitHub lists them among issues."""
        self.next_answer: Answer | None = None
        """Given instead of the next request's own answer."""
        self.remaining = 4_000
        self.app = Starlette(routes=[self._route(*entry) for entry in self._table()])

    def changes(self) -> list[Asked]:
        """The requests that were not GETs."""
        return [asked for asked in self.asked if asked.method != "GET"]

    def _table(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/rate_limit", self._documented("/rate_limit")),
            ("GET", "/user", self._documented("/user")),
            ("GET", "/search/code", self._documented("/search/code")),
            ("GET", "/search/commits", self._documented("/search/commits")),
            ("GET", f"{R}/events", self._list_events),
            ("GET", f"{R}/issues", self._list_issues),
            ("GET", f"{R}/actions/workflows", self._documented(f"{R}/actions/workflows")),
            ("GET", f"{R}/actions/runs", self._list_runs),
            ("GET", R + "/actions/workflows/{workflow_id}/runs", self._list_runs),
            ("GET", R + "/actions/runs/{run_id}", self._run),
            ("GET", R + "/actions/runs/{run_id}/jobs", self._list_jobs),
            (
                "GET",
                R + "/actions/runs/{run_id}/artifacts",
                self._documented(R + "/actions/runs/{run_id}/artifacts"),
            ),
            ("GET", R + "/actions/jobs/{job_id}", self._job),
            ("GET", R + "/actions/jobs/{job_id}/logs", self._log),
            ("POST", R + "/actions/workflows/{workflow_id}/dispatches", self._dispatch),
            ("POST", R + "/actions/runs/{run_id}/rerun", self._rerun),
            ("POST", R + "/actions/runs/{run_id}/rerun-failed-jobs", self._rerun),
            ("POST", R + "/actions/jobs/{job_id}/rerun", self._rerun_job),
            ("POST", R + "/actions/runs/{run_id}/cancel", self._cancel),
            ("GET", f"{R}/deployments", self._list_deployments),
            ("GET", R + "/deployments/{deployment_id}", self._deployment),
            (
                "GET",
                R + "/deployments/{deployment_id}/statuses",
                self._documented(R + "/deployments/{deployment_id}/statuses"),
            ),
            ("GET", f"{R}/environments", self._documented(f"{R}/environments")),
            *[("GET", f"{R}/{kind}/alerts", self._list_alerts(kind)) for kind in self.alerts],
            *[("GET", R + f"/{kind}/alerts/{{alert_number}}", self._alert(kind)) for kind in self.alerts],
            ("GET", R + "/pulls/{pull_number}", self._pull),
            ("GET", R + "/pulls/{pull_number}/files", self._documented(R + "/pulls/{pull_number}/files")),
            (
                "PUT",
                R + "/pulls/{pull_number}/update-branch",
                self._documented(R + "/pulls/{pull_number}/update-branch", "PUT", 202),
            ),
            (
                "POST",
                R + "/pulls/{pull_number}/comments",
                self._documented(R + "/pulls/{pull_number}/comments", "POST", 201),
            ),
            (
                "POST",
                R + "/pulls/{pull_number}/comments/{comment_id}/replies",
                self._documented(R + "/pulls/{pull_number}/comments/{comment_id}/replies", "POST", 201),
            ),
            (
                "POST",
                R + "/pulls/{pull_number}/reviews",
                self._documented(R + "/pulls/{pull_number}/reviews", "POST"),
            ),
            ("GET", R + "/commits/{ref}/check-runs", self._list_check_runs),
            ("GET", R + "/commits/{ref}/status", self._status),
            (
                "GET",
                R + "/issues/{issue_number}/sub_issues",
                self._documented(R + "/issues/{issue_number}/sub_issues"),
            ),
        ]

    def _route(self, method: str, template: str, handler: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            self.asked.append(await _asked(request))
            answer = await self._answer(request, handler)
            return _response(request, method, template, answer, self.remaining)

        return Route(template, endpoint, methods=[method])

    async def _answer(self, request: Request, handler: Handler) -> Answer:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(401, "Bad credentials")
        if self.next_answer is not None:
            answer, self.next_answer = self.next_answer, None
            return answer
        if request.url.path.startswith(f"/repos/{RENAMED}/"):
            moved = str(request.url).replace(RENAMED, REPO)
            return Answer(
                301,
                {"message": "Moved Permanently", "url": moved, "documentation_url": moved},
                {"location": moved},
            )
        return await handler(request)

    def _documented(self, template: str, method: str = "GET", status: int = 200) -> Handler:
        async def handle(request: Request) -> Answer:
            return Answer(status, documented_example(method, template, status))

        return handle

    async def _list_runs(self, request: Request) -> Answer:
        wanted = request.query_params.get("status")
        runs = [run for run in self.runs.values() if wanted in (None, run["status"], run["conclusion"])]
        return _page(request, runs, "workflow_runs")

    async def _list_events(self, request: Request) -> Answer:
        answer = _page(request, self.events)
        return Answer(200, answer.body, answer.headers | {"x-poll-interval": "90"})

    async def _list_issues(self, request: Request) -> Answer:
        return _page(request, self.issues)

    async def _run(self, request: Request) -> Answer:
        run = self.runs.get(int(request.path_params["run_id"]))
        return Answer(200, run) if run else _error(404, "Not Found")

    async def _list_jobs(self, request: Request) -> Answer:
        run_id = int(request.path_params["run_id"])
        return _page(request, [job for job in self.jobs.values() if job["run_id"] == run_id], "jobs")

    async def _job(self, request: Request) -> Answer:
        job = self.jobs.get(int(request.path_params["job_id"]))
        return Answer(200, job) if job else _error(404, "Not Found")

    async def _log(self, request: Request) -> Answer:
        job_id = int(request.path_params["job_id"])
        if job_id not in self.logs:
            return _error(404, "Not Found")
        return Answer(302, None, {"location": f"{self.log_origin}/{job_id}?sig=signed"})

    async def _dispatch(self, request: Request) -> Answer:
        body = await request.json()
        run = self.runs[1] | {
            "id": max(self.runs) + 1,
            "status": "queued",
            "conclusion": None,
            "head_branch": body["ref"],
        }
        self.runs[run["id"]] = run | {"event": "workflow_dispatch"}
        return Answer(204)

    async def _rerun(self, request: Request) -> Answer:
        run = self.runs[int(request.path_params["run_id"])]
        run |= {"status": "queued", "conclusion": None, "run_attempt": run["run_attempt"] + 1}
        return Answer(201, {})

    async def _rerun_job(self, request: Request) -> Answer:
        self.jobs[int(request.path_params["job_id"])] |= {"status": "queued", "conclusion": None}
        return Answer(201, {})

    async def _cancel(self, request: Request) -> Answer:
        run = self.runs[int(request.path_params["run_id"])]
        if run["status"] == "completed":
            return _error(409, "Cannot cancel a workflow run that is completed.")
        run |= {"status": "completed", "conclusion": "cancelled"}
        return Answer(202, {})

    async def _list_deployments(self, request: Request) -> Answer:
        wanted = request.query_params.get("environment")
        return _page(request, [d for d in self.deployments if wanted in (None, d["environment"])])

    async def _deployment(self, request: Request) -> Answer:
        wanted = int(request.path_params["deployment_id"])
        found = [d for d in self.deployments if d["id"] == wanted]
        return Answer(200, found[0]) if found else _error(404, "Not Found")

    def _list_alerts(self, kind: str) -> Handler:
        async def handle(request: Request) -> Answer:
            state = request.query_params.get("state")
            alerts = [a for a in self.alerts[kind] if state in (None, a["state"])]
            return _page(request, [_hidden(request, alert) for alert in alerts])

        return handle

    def _alert(self, kind: str) -> Handler:
        async def handle(request: Request) -> Answer:
            wanted = int(request.path_params["alert_number"])
            found = [alert for alert in self.alerts[kind] if alert["number"] == wanted]
            if not found:
                return _error(404, "Not Found")
            # One alert is documented in more detail than those of a list.
            details = documented_example("GET", f"{R}/{kind}/alerts/{{alert_number}}", 200)
            details.get("security_advisory", {}).pop("epss", None)
            return Answer(200, _hidden(request, details | found[0]))

        return handle

    async def _pull(self, request: Request) -> Answer:
        if "diff" in request.headers["accept"]:
            return Answer(200, text=DIFF)
        pull = documented_example("GET", R + "/pulls/{pull_number}", 200)
        pull["requested_teams"] = []
        return Answer(200, pull | {"head": pull["head"] | {"sha": HEAD}})

    async def _list_check_runs(self, request: Request) -> Answer:
        assert request.path_params["ref"] == HEAD
        return _page(request, self.check_runs, "check_runs")

    async def _status(self, request: Request) -> Answer:
        return Answer(
            200, documented_example("GET", R + "/commits/{ref}/status", 200) | {"statuses": self.statuses}
        )

    async def download(self, request: Request) -> Response:
        """The origin that keeps the logs; it streams them and wants no credentials."""
        self.downloads.append(dict(request.headers))
        return StreamingResponse(_pieces(self.logs[int(request.path_params["job_id"])]))


@asynccontextmanager
async def github_fake() -> AsyncIterator[tuple[str, GitHubFake]]:
    """The fake's address, and the fake."""
    fake = GitHubFake()
    async with AsyncExitStack() as stack:
        fake.log_origin = await stack.enter_async_context(serve(Router([Route("/{job_id}", fake.download)])))
        yield await stack.enter_async_context(serve(fake.app)), fake


async def _asked(request: Request) -> Asked:
    body = await request.body()
    return Asked(
        request.method,
        request.scope["raw_path"].decode(),
        dict(request.query_params),
        dict(request.headers),
        orjson.loads(body) if body else None,
    )


def _response(request: Request, method: str, template: str, answer: Answer, remaining: int) -> Response:
    headers = {
        "x-ratelimit-limit": "5000",
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": "4102444800",
        "x-ratelimit-resource": "core",
    } | answer.headers
    if answer.text is not None:
        return Response(answer.text, answer.status, headers)
    try:
        validate_answer(method, template, answer.status, answer.body)
    except AssertionError as fault:
        return Response(orjson.dumps({"message": f"the fake answers what GitHub would not: {fault}"}), 599)
    content = b"" if answer.body is None else orjson.dumps(answer.body)
    if method == "GET" and answer.status == 200:
        headers["etag"] = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
    return Response(content, answer.status, headers, "application/json; charset=utf-8")


def _page(request: Request, items: list[Any], wrapped: str | None = None) -> Answer:
    size, number = int(request.query_params.get("per_page", 30)), int(request.query_params.get("page", 1))
    shown = items[size * (number - 1) : size * number]
    headers = {}
    if size * number < len(items):
        following = request.url.include_query_params(page=number + 1)
        headers["link"] = f'<{following}>; rel="next", <{following}>; rel="last"'
    return Answer(200, {"total_count": len(items), wrapped: shown} if wrapped else shown, headers)


def _hidden(request: Request, alert: dict[str, Any]) -> dict[str, Any]:
    if "secret" in alert and request.query_params.get("hide_secret") == "true":
        return {name: value for name, value in alert.items() if name != "secret"}
    return alert


def _error(status: int, message: str) -> Answer:
    return Answer(
        status,
        {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)},
    )


async def _pieces(content: bytes, size: int = 1_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]

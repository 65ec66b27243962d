"""A small stand-in for GitHub, so that the embedded start has something to show where no token is given.

One repository, acme/shop, with one pull request and one failed run of its build; read-only, in the shapes of GitHub's REST API.
Nothing but the embedded start uses it, and the start says so. `python -m devops_mcp.embedded.github_stand_in --port 9380`.
"""

import argparse
import re
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

REPO = "acme/shop"
BRANCH = "faster-checkout"
SHA = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
NUMBER = 42
RUN_ID = 9001
_ANY_RUN = re.compile(r"/runs/\d+")
"""Whoever plays the demo again tells of another run of the same build."""
JOB_ID = 9101
_WEB = f"https://github.com/{REPO}"
_STARTED, _FAILED = "2026-11-20T09:58:00Z", "2026-11-20T10:03:20Z"

_USER = {"login": "dana", "id": 7, "type": "User", "html_url": "https://github.com/dana"}
_PULL = {
    "id": 4200,
    "number": NUMBER,
    "state": "open",
    "title": "Cache exchange rates in the checkout",
    "body": "Rates are read from Redis, one look-up a basket instead of one a line.",
    "user": _USER,
    "draft": False,
    "merged": False,
    "mergeable": True,
    "mergeable_state": "unstable",
    "head": {"ref": BRANCH, "sha": SHA, "label": f"acme:{BRANCH}"},
    "base": {"ref": "main", "sha": "c3d0be41ecbe669545ee3e94d31ed9a4bc91ee3c", "label": "acme:main"},
    "labels": [],
    "assignees": [],
    "requested_reviewers": [],
    "commits": 1,
    "additions": 61,
    "deletions": 12,
    "changed_files": 3,
    "comments": 0,
    "review_comments": 0,
    "created_at": "2026-11-20T09:55:00Z",
    "updated_at": "2026-11-20T09:57:00Z",
    "html_url": f"{_WEB}/pull/{NUMBER}",
}
_RUN = {
    "id": RUN_ID,
    "name": "CI",
    "display_title": "Cache exchange rates in the checkout",
    "run_number": 311,
    "run_attempt": 1,
    "event": "pull_request",
    "status": "completed",
    "conclusion": "failure",
    "head_branch": BRANCH,
    "head_sha": SHA,
    "head_commit": {"id": SHA, "message": "Cache exchange rates", "timestamp": "2026-11-20T09:54:00Z"},
    "triggering_actor": _USER,
    "run_started_at": _STARTED,
    "created_at": _STARTED,
    "updated_at": _FAILED,
    "html_url": f"{_WEB}/actions/runs/{RUN_ID}",
}


def _step(number: int, name: str, conclusion: str, completed_at: str) -> dict[str, Any]:
    return {
        "name": name,
        "number": number,
        "status": "completed",
        "conclusion": conclusion,
        "started_at": _STARTED,
        "completed_at": completed_at,
    }


_JOB = {
    "id": JOB_ID,
    "run_id": RUN_ID,
    "name": "test",
    "status": "completed",
    "conclusion": "failure",
    "runner_name": "runner-3",
    "started_at": _STARTED,
    "completed_at": _FAILED,
    "html_url": f"{_WEB}/actions/runs/{RUN_ID}/job/{JOB_ID}",
    "steps": [
        _step(1, "Set up job", "success", _STARTED),
        _step(2, "Run tests", "failure", _FAILED),
    ],
}
_LOG = "\n".join(
    f"2026-11-20T10:0{minute}:00.0000000Z {line}"
    for minute, line in enumerate(
        (
            "collected 214 items",
            "tests/checkout/test_rates.py::test_rates_are_cached FAILED",
            "E   redis.exceptions.TimeoutError: Timeout reading from socket",
            "##[error]Process completed with exit code 1.",
        )
    )
)
_QUOTA = {"limit": 5000, "remaining": 4999, "reset": 1_795_000_000, "used": 1}


def webhooks() -> dict[str, dict[str, Any]]:
    """What GitHub would send about this, the body by the name of the event; served at `/webhooks`, which GitHub does not have."""
    common = {"repository": {"id": 1, "name": "shop", "full_name": REPO, "html_url": _WEB}, "sender": _USER}
    return {
        "pull_request": {"action": "opened", "number": NUMBER, "pull_request": _PULL, **common},
        "workflow_run": {
            "action": "completed",
            "workflow_run": _RUN,
            "workflow": {"id": 1, "name": "CI"},
            **common,
        },
    }


def application() -> Starlette:
    """The API as an ASGI application."""
    answers: dict[str, Any] = {
        "/webhooks": webhooks(),
        "/rate_limit": {"resources": {"core": _QUOTA}, "rate": _QUOTA},
        "/user": _USER,
        f"/repos/{REPO}": {
            "id": 1,
            "full_name": REPO,
            "default_branch": "main",
            "private": False,
            "html_url": _WEB,
        },
        f"/repos/{REPO}/pulls": [_PULL],
        f"/repos/{REPO}/pulls/{NUMBER}": _PULL,
        f"/repos/{REPO}/actions/runs": {"total_count": 1, "workflow_runs": [_RUN]},
        f"/repos/{REPO}/actions/runs/{RUN_ID}": _RUN,
        f"/repos/{REPO}/actions/runs/{RUN_ID}/jobs": {"total_count": 1, "jobs": [_JOB]},
        f"/repos/{REPO}/actions/jobs/{JOB_ID}": _JOB,
    }

    async def answer(request: Request) -> Response:
        path = _ANY_RUN.sub(f"/runs/{RUN_ID}", request.url.path)
        if path not in answers:
            return JSONResponse({"message": "Not Found", "status": "404"}, 404)
        return JSONResponse(answers[path])

    async def log(request: Request) -> Response:
        return PlainTextResponse(_LOG)

    return Starlette(
        routes=[Route(f"/repos/{REPO}/actions/jobs/{JOB_ID}/logs", log), Route("/{path:path}", answer)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m devops_mcp.embedded.github_stand_in", description=__doc__
    )
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(application(), port=parser.parse_args().port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()

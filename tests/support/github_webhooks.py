"""Webhooks as GitHub sends them: its own recorded payloads made to be about one repository, signed, and posted."""

import hashlib
import hmac
import json
import zlib
from typing import Any
from uuid import uuid4

import httpx2

from support.node import webhook_examples

REPO = "acme/shop"


def pull_request(title: str = "Cache exchange rates", **changes: Any) -> dict[str, Any]:
    """A pull request was opened."""
    payload = _example("pull_request", "opened")
    payload["pull_request"] |= {"id": _number(title), "title": title, **changes}
    return payload


def failed_run(workflow: str = "CI", message: str = "Cache exchange rates", **changes: Any) -> dict[str, Any]:
    """A run of a workflow failed."""
    payload = _example("workflow_run", "completed")
    run = payload["workflow_run"]
    run |= {
        "id": _number(message),
        "name": workflow,
        "conclusion": "failure",
        "head_branch": "main",
        "display_title": message,
        **changes,
    }
    run["head_commit"]["message"] = message
    return payload


def _number(words: str) -> int:
    """Another thing has another number."""
    return zlib.crc32(words.encode()) + 1


def _example(event: str, action: str) -> dict[str, Any]:
    example = next(e for e in webhook_examples()[event] if e.get("action") == action)
    copy: dict[str, Any] = json.loads(json.dumps(example))
    copy["repository"] |= {"full_name": REPO, "name": "shop"}
    return copy


def signed(event: str, payload: dict[str, Any], secret: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a delivery; `headers` replace or add."""
    body = json.dumps(payload).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return body, {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid4()),
        "X-Hub-Signature-256": f"sha256={signature}",
        **headers,
    }


async def deliver(
    http: httpx2.AsyncClient, rest: str, event: str, payload: dict[str, Any], secret: str, **headers: str
) -> httpx2.Response:
    body, all_headers = signed(event, payload, secret, **headers)
    return await http.post(f"{rest}/webhooks/github", content=body, headers=all_headers)

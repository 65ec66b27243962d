"""Events without a type of their own: one informative line each."""

from collections.abc import Mapping
from typing import Any

from devops_mcp.adapters.deliveries import about
from devops_mcp.adapters.github.webhooks.common import Payload
from devops_mcp.adapters.github.webhooks.phrases import phrase_of
from devops_mcp.adapters.shapes import first_line
from devops_mcp.events.model import ActivityRecorded, Event

_OBJECTS: Mapping[str, tuple[str, ...]] = {
    "branch_protection_rule": ("rule",),
    "commit_comment": ("comment",),
    "deploy_key": ("key",),
    "discussion_comment": ("discussion", "comment"),
    "fork": ("forkee",),
    "gollum": ("pages",),
    "installation": ("installation",),
    "marketplace_purchase": ("marketplace_purchase",),
    "membership": ("team", "member"),
    "org_block": ("blocked_user",),
    "organization": ("membership", "invitation", "organization"),
    "page_build": ("build",),
    "pull_request_review": ("pull_request", "review"),
    "pull_request_review_comment": ("pull_request", "comment"),
    "pull_request_review_thread": ("pull_request",),
    "repository_vulnerability_alert": ("alert",),
    "secret_scanning_alert": (),
    "team_add": ("team",),
    "workflow_dispatch": ("workflow",),
}
"""The objects that tell what an event is about, where they are not named like the event."""

_NAMES = ("title", "full_name", "name", "login", "slug", "tag_name", "page_name", "summary", "path")
"""An object's name is the first of these that it has."""
_MORE = ("state", "conclusion", "environment", "workflow_name", "head_branch", "body")
_MAX_NAME = 120


def activity(payload: Payload) -> Event:
    """Whatever happened, in one line: `Repository starred on acme/shop by octocat`."""
    happened = phrase_of(payload.event, payload.action)
    by = f" by {payload.sender}" if payload.sender and payload.sender != payload.subject else ""
    title = f"{happened} on {payload.subject}{by}{about(_details(payload))}"
    return ActivityRecorded(
        **payload.told(title, _url(payload), None), vendor_type=payload.event, action=payload.action
    )


def _objects(payload: Payload) -> list[Mapping[str, Any]]:
    names = _OBJECTS.get(payload.event, (payload.event,))
    found = [payload.body.get(name) for name in names]
    flat = [part for value in found for part in (value if isinstance(value, list) else [value])]
    return [part for part in flat if isinstance(part, dict)]


def _details(payload: Payload) -> str:
    said = [_described(part) for part in _objects(payload)]
    if payload.event in ("push", "create", "delete", "workflow_dispatch"):
        said.append(str(payload.body.get("ref_type") or "") + " " + str(payload.body.get("ref") or ""))
    label = payload.body.get("label")
    if payload.event != "label" and isinstance(label, dict):
        said.append(f"label {label.get('name')}")
    return first_line("; ".join(part.strip() for part in said if part.strip()))


def _described(part: Mapping[str, Any]) -> str:
    number = part.get("number")
    name = next((part[key] for key in _NAMES if isinstance(part.get(key), str) and part[key]), None)
    more = [part[key] for key in _MORE if isinstance(part.get(key), str)]
    words = [f"#{number}"] if isinstance(number, int) else []
    words += [first_line(value, _MAX_NAME) for value in ([name] if name else []) + more]
    return " ".join(word for word in words if word)


def _url(payload: Payload) -> str | None:
    for part in [*reversed(_objects(payload)), payload.body.get("repository")]:
        url = part.get("html_url") if isinstance(part, dict) else None
        if isinstance(url, str):
            return url
    return None

"""What something that happened at GitHub is told by, whichever way we hear of it: its webhook, or a look at GitHub's lists."""

from collections.abc import Mapping
from typing import Any

from devops_mcp.adapters.github.webhooks.common import Payload

_MAX = 500
_OF_RUNS = ("requested", "completed")
_MADE = {
    ("issue_comment", "created"): "comment",
    ("issues", "opened"): "issue",
    ("pull_request", "opened"): "pull_request",
}
"""What happens to a thing once, and where the thing is. Pushes of the same commits to the same branch may come again."""


def identity_of(payload: Payload) -> str | None:
    """None where GitHub gives nothing that tells this from the next time it happens."""
    event, action = payload.event, payload.action
    if event == "workflow_run" and action in _OF_RUNS:
        run = _part(payload, "workflow_run")
        return _joined(event, run.get("id"), run.get("run_attempt", 1), action)
    thing = _MADE.get((event, action or ""))
    return _joined(event, action, _part(payload, thing).get("id")) if thing else None


def _part(payload: Payload, name: str) -> Mapping[str, Any]:
    part = payload.body.get(name)
    return part if isinstance(part, dict) else {}


def _joined(*parts: object) -> str | None:
    if not all(isinstance(part, str | int) and part for part in parts):
        return None
    identity = ":".join(map(str, parts))
    return identity if len(identity) <= _MAX else None

"""The words that events are found by."""

from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import pytest

from devops_mcp.events.model import EVENT, Event
from devops_mcp.models.ids import new_id
from devops_mcp.operations.event_texts import event_text

COMMON: dict[str, Any] = {
    "id": new_id(),
    "tenant_id": new_id(),
    "system": "github",
    "source": "github-prod",
    "subject": "acme/shop",
    "title": "The title",
    "actor": "octocat",
    "occurred_at": datetime(2026, 11, 1, tzinfo=UTC),
}
COMMIT = "0123456789abcdef0123"
CHANGE = {"number": 7, "branch": "fix-login", "base": "main", "commit": COMMIT, "body": "Closes the hole."}
BUILD = {"workflow": "CI", "run_id": "42", "branch": "main", "commit": COMMIT}
ALERT = {
    "name": "HighLatency",
    "fingerprint": "f",
    "severity": "page",
    "labels": {"job": "api"},
    "summary": "p99 high",
}

SAYS: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"type": "change.opened", **CHANGE},
        ["Pull request", "7", "opened", "fix-login", "main", "Closes the hole."],
    ),
    ({"type": "change.updated", **CHANGE}, ["updated"]),
    ({"type": "change.merged", **CHANGE}, ["merged"]),
    ({"type": "change.closed", **CHANGE}, ["closed without merging"]),
    (
        {
            "type": "code.pushed",
            "ref": "refs/heads/main",
            "commit": COMMIT,
            "messages": ["Fix login", "Add test"],
        },
        ["pushed", "refs/heads/main", "Fix login", "Add test"],
    ),
    ({"type": "build.started", **BUILD}, ["CI", "started", "main"]),
    (
        {"type": "build.finished", **BUILD, "failed": True, "conclusion": "failure", "duration_s": 61.4},
        [
            "workflow",
            "CI",
            "failed",
            "broke",
            "failure",
            "branch main",
            "0123456789ab",
            "attempt 1",
            "61 seconds",
        ],
    ),
    ({"type": "build.finished", **BUILD, "conclusion": "success"}, ["finished", "success"]),
    (
        {"type": "deployment.started", "service": "api", "environment": "production", "state": "pending"},
        ["Deployment", "api", "production", "started"],
    ),
    (
        {
            "type": "deployment.finished",
            "service": "api",
            "environment": "production",
            "version": "1.2",
            "state": "error",
            "failed": True,
        },
        ["version 1.2", "failed", "error"],
    ),
    ({"type": "alert.fired", **ALERT}, ["HighLatency", "firing", "page", "job api", "p99 high"]),
    ({"type": "alert.resolved", **ALERT}, ["resolved"]),
    (
        {
            "type": "scan.finished",
            "scanner": "sonar",
            "status": "ERROR",
            "failed": True,
            "findings": ["a hole"],
        },
        ["Scan", "sonar", "failed", "a hole"],
    ),
    (
        {"type": "issue.changed", "number": "5", "action": "opened", "state": "open", "body": "It crashes."},
        ["Issue", "5", "opened", "now open", "It crashes."],
    ),
    (
        {"type": "release.published", "version": "v2", "body": "Faster."},
        ["Release", "v2", "published", "Faster."],
    ),
    (
        {"type": "tool.called", "tool_system": "github", "effect": "write", "duration_ms": 12.5},
        ["called acme/shop", "succeeded"],
    ),
    (
        {
            "type": "tool.called",
            "tool_system": "github",
            "effect": "write",
            "failed": True,
            "error_code": "forbidden",
            "duration_ms": 12.5,
        },
        ["failed", "forbidden"],
    ),
    (
        {
            "type": "rule.notified",
            "rule_id": UUID(int=1),
            "rule": "red main",
            "about": UUID(int=2),
            "text": "Fix it.",
        },
        ["rule red main tells", "Fix it."],
    ),
    (
        {"type": "agent.registered", "agent_id": UUID(int=3), "capabilities": ["helm"]},
        ["agent acme/shop registered", "can do helm"],
    ),
    ({"type": "agent.lost", "agent_id": UUID(int=3)}, ["agent acme/shop is lost"]),
    ({"type": "agent.returned", "agent_id": UUID(int=3)}, ["agent acme/shop is back"]),
    ({"type": "activity.recorded", "vendor_type": "star", "action": "created"}, ["star", "created"]),
]


@pytest.mark.parametrize(("fields", "words"), SAYS, ids=[f"{f['type']}-{n}" for n, (f, _) in enumerate(SAYS)])
def test_an_events_text_says_what_happened_where_and_by_whom(fields, words):
    text = event_text(EVENT.validate_python({**COMMON, **fields}))
    missing = [word for word in [*words, "acme/shop", "octocat", "github"] if word not in text]
    assert not missing, text


def test_a_build_that_succeeded_does_not_say_that_it_failed():
    fields = {"type": "build.finished", **BUILD, "conclusion": "success"}
    text = event_text(EVENT.validate_python({**COMMON, **fields}))
    assert "failed" not in text
    assert "broke" not in text


def test_every_type_of_event_has_a_case_here():
    union = get_args(get_args(Event)[0])
    types = {t for model in union for t in get_args(model.model_fields["type"].annotation)}
    assert types == {fields["type"] for fields, _ in SAYS}


def test_the_type_is_no_word_of_the_text() -> None:
    """`change` would be one of every change, and of every issue that changed."""
    text = event_text(EVENT.validate_python({**COMMON, "type": "change.updated", **CHANGE}))
    assert "change.updated" not in text
    assert text.endswith("github (github-prod), acme/shop by octocat.")

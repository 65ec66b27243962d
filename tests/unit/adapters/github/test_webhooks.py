"""GitHub's webhooks, on payloads of our own in GitHub's shape; the recorded ones are in tests/contract/test_github_webhooks.py."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.github.webhooks import MAX_BODY_BYTES, SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, AlertEvent, BuildEvent, Event, ScanFinished
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "github-prod")
SECRETS = (SecretStr("s3cret"),)


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def delivery(body: object, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({"x-hub-signature-256": SIGNATURE.sign(raw, "s3cret")} | headers, raw, ARRIVED)


def parsed(event: str, body: object) -> Event:
    [found] = WEBHOOKS.parse(delivery(body, **{"x-github-event": event}), ORIGIN)
    return found


def test_a_failed_build_says_in_one_line_what_broke_where() -> None:
    event = parsed("workflow_run", recorded("workflow_run_failed"))

    assert isinstance(event, BuildEvent)
    assert event.title == "Build 'CI' failed on main of acme/shop (attempt 1): Charge the card once"
    assert (event.type, event.failed, event.conclusion) == ("build.finished", True, "failure")
    assert (event.subject, event.system, event.source, event.actor) == (
        "acme/shop",
        "github",
        "github-prod",
        "mona",
    )
    assert (event.run_id, event.workflow, event.branch, event.duration_s) == (
        "7100000001",
        "CI",
        "main",
        200.0,
    )
    assert event.occurred_at == datetime(2026, 11, 1, 10, 3, 25, tzinfo=UTC)
    assert event.url == "https://github.com/acme/shop/actions/runs/7100000001"


@pytest.mark.parametrize(
    ("conclusion", "failed"),
    [
        ("failure", True), ("timed_out", True), ("startup_failure", True), ("success", False), ("cancelled", False),
        ("skipped", False), ("neutral", False), ("action_required", False), ("stale", False), (None, False),
    ],
)  # fmt: skip
def test_a_build_failed_when_its_code_or_pipeline_did(conclusion: str | None, failed: bool) -> None:
    body = recorded("workflow_run_failed")
    body["workflow_run"]["conclusion"] = conclusion

    event = parsed("workflow_run", body)

    assert isinstance(event, BuildEvent)
    assert event.failed is failed
    assert ("failed" in event.title) is failed


def test_a_requested_build_has_started_and_failed_at_nothing() -> None:
    body = recorded("workflow_run_failed") | {"action": "requested"}

    event = parsed("workflow_run", body)

    assert isinstance(event, BuildEvent)
    assert (event.type, event.failed, event.duration_s) == ("build.started", False, None)


def test_a_leaked_secret_alarms_and_is_in_no_event() -> None:
    event = parsed("secret_scanning_alert", recorded("secret_scanning_alert_created"))

    assert isinstance(event, AlertEvent)
    assert (event.type, event.severity) == ("alert.fired", "critical")
    assert event.title == "Secret scanning alert #42 created in acme/shop: Amazon AWS Access Key ID"
    assert b"canary" not in EVENT.dump_json(event)


@pytest.mark.parametrize("action", ["validated", "assigned", "something_new"])
def test_no_activity_about_a_leaked_secret_shows_it(action: str) -> None:
    event = parsed("secret_scanning_alert", recorded("secret_scanning_alert_created") | {"action": action})

    assert event.type == "activity.recorded"
    assert b"canary" not in EVENT.dump_json(event)


def test_a_finished_scan_is_one() -> None:
    body = {
        "action": "completed",
        "type": "backfill",
        "source": "git",
        "started_at": "2026-11-01T09:00:00Z",
        "completed_at": "2026-11-01T10:00:00Z",
        "repository": {"full_name": "acme/shop"},
    }

    event = parsed("secret_scanning_scan", body)

    assert isinstance(event, ScanFinished)
    assert event.title == "Secret scan (backfill) of git completed in acme/shop"


def test_an_event_that_github_adds_later_is_recorded() -> None:
    event = parsed(
        "something_new",
        {"action": "begun", "repository": {"full_name": "acme/shop"}, "sender": {"login": "mona"}},
    )

    assert event.title == "Something new begun on acme/shop by mona"
    assert (event.type, event.subject, event.occurred_at) == ("activity.recorded", "acme/shop", ARRIVED)


def test_control_characters_stay_out_of_titles_and_nul_out_of_bodies() -> None:
    """L01, H05."""
    issue = {"number": 1, "title": "a\x00b\x1b[31m\nc", "body": "x\x00y", "state": "open"}

    event = parsed("issues", {"action": "opened", "issue": issue, "repository": {"full_name": "acme/shop"}})

    assert event.title == "Issue #1 opened in acme/shop: ab[31m"
    assert b"\\u0000" not in EVENT.dump_json(event)


def test_a_ping_is_verified_and_tells_nothing() -> None:
    ping = delivery({"zen": "Keep it simple", "hook_id": 1, "hook": {}}, **{"x-github-event": "ping"})

    WEBHOOKS.verify(ping, SECRETS)
    assert WEBHOOKS.parse(ping, ORIGIN) == ()


def test_a_forged_delivery_is_refused() -> None:
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivery({"zen": "x"}), (SecretStr("another"),))


@pytest.mark.parametrize("event", ["", "push,push", "Push", "../push", "push\n", "pu sh", "x" * 61])
def test_a_delivery_must_name_one_event(event: str) -> None:
    with pytest.raises(InvalidInput, match="X-GitHub-Event"):
        WEBHOOKS.parse(delivery({"ref": "x"}, **{"x-github-event": event}), ORIGIN)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"text"', b'{"a": NaN}', b'{"a": 1e999}', b"\xef\xbb\xbf{}", b'{"a": "\xff"}', b'{"a": "\\ud800"}',
     '{"a": 1}'.encode("utf-16"), b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """H05: never a 500."""
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(delivery(body, **{"x-github-event": "push"}), ORIGIN)


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("workflow_run", {"workflow_run": None}),
        ("workflow_run", {"workflow_run": {"id": "many"}}),
        ("workflow_run", {"workflow_run": []}),
        ("workflow_run", {"deployment": {}}),
        ("pull_request", {}),
        ("ping", {}),
    ],
)
def test_a_body_that_is_not_its_events_is_refused(event: str, change: dict[str, Any]) -> None:
    """W04."""
    with pytest.raises(InvalidInput, match=f"not that of a '{event}' event"):
        parsed(event, recorded("workflow_run_failed") | change)


def test_a_form_is_refused_with_what_to_change() -> None:
    headers = {"x-github-event": "push", "content-type": "application/x-www-form-urlencoded"}

    with pytest.raises(InvalidInput, match="content type to application/json"):
        WEBHOOKS.parse(delivery(b"payload=%7B%7D", **headers), ORIGIN)


def test_the_delivery_is_told_by_its_id_which_is_not_signed() -> None:
    assert (
        WEBHOOKS.delivery_key(delivery({}, **{"x-github-delivery": "72d3162e-cc78-11e3"}))
        == "72d3162e-cc78-11e3"
    )
    assert WEBHOOKS.delivery_key(delivery({})) is None
    assert WEBHOOKS.delivery_key(delivery({}, **{"x-github-delivery": "a,b"})) is None
    assert WEBHOOKS.signed_key is False
    assert WEBHOOKS.max_body_bytes == MAX_BODY_BYTES == 26_214_400


def test_a_time_that_is_missing_is_that_of_the_arrival() -> None:
    body = recorded("workflow_run_failed")
    body["workflow_run"] |= {"updated_at": None}

    assert parsed("workflow_run", body).occurred_at == ARRIVED

"""Forgejo's webhooks: its payloads are Gitea's, so most of what they become is shown in tests/unit/adapters/gitea.

The push is the example of Gitea's documentation, which Forgejo's took over; issue, pull request and release were sent by Gitea
(go-playground/webhooks, testdata/gitea). The run is of our own in the shape of Forgejo's source (modules/structs/action.go)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.forgejo.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, BuildEvent, Event
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "forgejo-prod")
SECRETS = (SecretStr("s3cret"),)
RUN_URL = "https://forge.example.com/acme/shop/actions/runs/33"

EXPECTED = {
    "push": (
        "code.pushed", "gitea/webhooks", "gitea", "arrival", "1 commit pushed to develop of gitea/webhooks: Webhooks Yay!",
        "http://localhost:3000/gitea/webhooks/compare/28e1879d029cb852e4844d9c718537df08844e03...bffeb74224043ba2feb48d137756c8a9331c449a",
    ),
    "issues": (
        "issue.changed", "example/example", "example", "2022-03-09T16:19:00+09:00",
        "Issue #1 opened in example/example: example", "http://localhost:3000/example/example/issues/1",
    ),
    "pull_request": (
        "change.opened", "example/example", "example2", "2022-03-09T16:31:06+09:00",
        "Pull request #2 opened in example/example (master into master): update",
        "http://localhost:3000/example/example/pulls/2",
    ),
    "release": (
        "release.published", "example/example", "example", "2022-03-09T16:25:04+09:00",
        "Release example of example/example published: 0.0.0",
        "http://localhost:3000/example/example/releases/tag/example",
    ),
    "action_run_failure": (
        "build.finished", "acme/shop", "mona", "2026-11-01T10:03:25+00:00",
        "Build 'ci.yml' failed on main of acme/shop: Charge the card once", RUN_URL,
    ),
}  # fmt: skip
"""Of the event made of each payload: type, subject, actor, time, title and address."""


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def delivery(event: str, body: object) -> Delivery:
    raw = json.dumps(body).encode()
    headers = {
        "x-forgejo-event": event,
        "x-forgejo-delivery": "f6266f16-1bf3-46a5-9ea4-602e06ead473",
        "x-forgejo-signature": SIGNATURE.sign(raw, "s3cret"),
    }
    return Delivery(headers, raw, ARRIVED)


def parsed(event: str, body: object) -> Event:
    [found] = WEBHOOKS.parse(delivery(event, body), ORIGIN)
    return found


def test_every_recorded_payload_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_payload_verifies_and_becomes_its_event(name: str) -> None:
    type_, subject, actor, time, title, url = EXPECTED[name]
    given = delivery(name, recorded(name))

    WEBHOOKS.verify(given, SECRETS)
    [event] = WEBHOOKS.parse(given, ORIGIN)

    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert (event.type, event.subject, event.actor) == (type_, subject, actor)
    assert (event.title, event.url) == (title, url)
    assert event.occurred_at == (ARRIVED if time == "arrival" else datetime.fromisoformat(time))
    assert (event.system, event.source) == ("forgejo", "forgejo-prod")


@pytest.mark.parametrize(
    ("action", "failed", "happened"),
    [("failure", True, "failed"), ("success", False, "succeeded"), ("recover", False, "recovered")],
)
def test_a_run_of_its_actions_is_a_build(action: str, failed: bool, happened: str) -> None:
    event = parsed(f"action_run_{action}", recorded("action_run_failure") | {"action": action})

    assert isinstance(event, BuildEvent)
    assert event.title.startswith(f"Build 'ci.yml' {happened} on main of acme/shop")
    assert (event.failed, event.run_id, event.workflow, event.duration_s) == (failed, "39", "ci.yml", 200.0)


def test_a_run_that_never_started_has_no_times() -> None:
    body = recorded("action_run_failure")
    body["run"] |= {"started": "0001-01-01T00:00:00Z", "stopped": "0001-01-01T00:00:00Z"}

    event = parsed("action_run_failure", body)

    assert isinstance(event, BuildEvent)
    assert (event.duration_s, event.occurred_at) == (None, ARRIVED)


@pytest.mark.parametrize("event", ["action_run_success", "action_run_recover", "push", "workflow_run"])
def test_a_failed_run_is_never_taken_for_another_event(event: str) -> None:
    """W04."""
    with pytest.raises(InvalidInput, match=f"not that of a '{event}' event"):
        parsed(event, recorded("action_run_failure"))


@pytest.mark.parametrize("header", ["x-gitea-signature", "x-gogs-signature", "x-hub-signature-256"])
def test_only_forgejos_own_signature_counts(header: str) -> None:
    given = delivery("push", recorded("push"))
    headers = {header: given.headers["x-forgejo-signature"], "x-forgejo-signature": "0" * 64}

    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(Delivery(headers, given.body, ARRIVED), SECRETS)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_field_of_another_type_breaks_the_translation(name: str) -> None:
    """Each field in turn becomes something else; the body is read without it, or refused."""
    for mutated in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivery(name, mutated), ORIGIN)
        except InvalidInput:
            continue
        assert all(EVENT.dump_json(event) for event in events)


def test_the_delivery_is_told_by_its_id_which_is_not_signed() -> None:
    assert WEBHOOKS.delivery_key(delivery("push", {})) == "f6266f16-1bf3-46a5-9ea4-602e06ead473"
    assert WEBHOOKS.signed_key is False

"""PagerDuty's webhooks v3: the example of its overview (developer.pagerduty.com), cut by whole objects; other types are made of it."""

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.pagerduty.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, AlertEvent, Event, IssueChanged
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

BODY = (Path(__file__).parent / "recorded" / "incident_priority_updated.json").read_bytes()
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "on-call")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))
HEADER = "x-pagerduty-signature"


def delivered(body: object = BODY, signature: str | None = None) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({HEADER: SIGNATURE.sign(raw, "s3cret") if signature is None else signature}, raw, ARRIVED)


def of_type(kind: str, **data: Any) -> dict[str, Any]:
    body: dict[str, Any] = copy.deepcopy(json.loads(BODY))
    body["event"]["event_type"] = kind
    body["event"]["data"] |= data
    return body


def parsed(body: object) -> Event:
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    return event


def test_a_change_of_an_incident_is_an_issue_that_changed():
    event = parsed(BODY)
    assert isinstance(event, IssueChanged)
    assert event.title == "Incident 2 priority updated for API Service: A little bump in the road"
    assert (event.number, event.action, event.state) == ("2", "priority_updated", "triggered")
    assert (event.subject, event.actor) == ("API Service", "Tenex Engineer")
    assert event.url == "https://acme.pagerduty.com/incidents/PGR0VU2"
    assert event.occurred_at == datetime(2020, 10, 2, 18, 45, 22, 169000, UTC)
    assert WEBHOOKS.delivery_key(delivered()) == "5ac64822-4adc-4fda-ade0-410becf0de4f"


def test_an_incident_fires_when_it_is_triggered_and_ends_when_it_is_resolved():
    fired, ended = parsed(of_type("incident.triggered")), parsed(of_type("incident.resolved"))
    assert isinstance(fired, AlertEvent)
    assert isinstance(ended, AlertEvent)
    assert (fired.type, ended.type) == ("alert.fired", "alert.resolved")
    assert fired.fingerprint == ended.fingerprint == "PGR0VU2"
    assert fired.severity == "P1"


def test_anything_else_is_an_activity_and_a_ping_nothing():
    note = {"type": "incident_note", "summary": None, "incident": {"summary": "A little bump in the road"}}
    event = parsed(of_type("incident.annotated", **note))
    assert event.title == "PagerDuty: incident annotated: A little bump in the road"
    assert WEBHOOKS.parse(delivered(of_type("pagey.ping")), ORIGIN) == ()


@pytest.mark.parametrize("extra", ["", "v1=" + "0" * 64 + ","])
def test_one_right_signature_of_several_is_enough(extra):
    for secret in SECRETS:
        signed = extra + SIGNATURE.sign(BODY, secret.get_secret_value())
        WEBHOOKS.verify(delivered(BODY, signed), SECRETS)


@pytest.mark.parametrize(
    "change",
    [
        lambda right: "",
        lambda right: right.removeprefix("v1="),
        lambda right: right.replace("v1=", "v0="),
        lambda right: right.upper(),
        lambda right: right[:-1],
        lambda right: "v1=" + "0" * 64,
    ],
)
def test_a_signature_of_another_form_is_refused(change):
    """W01"""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(BODY, change(SIGNATURE.sign(BODY, "s3cret"))), SECRETS)


def test_no_byte_of_a_signed_body_can_change():
    right = SIGNATURE.sign(BODY, "s3cret")
    for position in range(0, len(BODY), 7):
        changed = bytearray(BODY)
        changed[position] ^= 1
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(delivered(bytes(changed), right), SECRETS)


@pytest.mark.parametrize("kind", ["incident.triggered", "incident.acknowledged", "service.updated"])
def test_whatever_is_wrong_with_a_body_it_is_read_or_refused(kind):
    """W04"""
    for body in mutations(of_type(kind)):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

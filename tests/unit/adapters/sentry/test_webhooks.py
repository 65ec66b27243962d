"""Sentry's webhooks: bodies in the shape of its documentation (docs.sentry.io), cut by whole objects."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.sentry.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, ActivityRecorded, AlertEvent, Event, IssueChanged
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
KINDS = sorted(path.stem for path in RECORDED.iterdir())
ARRIVED = datetime(2026, 11, 21, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "errors")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))


def recorded(kind: str, **changes: Any) -> dict[str, Any]:
    return {**json.loads((RECORDED / f"{kind}.json").read_bytes()), **changes}


def delivered(body: object, secret: str = "s3cret", **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = SIGNATURE.sign(raw, secret)
    return Delivery({"sentry-hook-signature": signature, "request-id": "r-1", **headers}, raw, ARRIVED)


def parsed(kind: str, **changes: Any) -> Event:
    [event] = WEBHOOKS.parse(delivered(recorded(kind, **changes)), ORIGIN)
    return event


def test_an_issue_that_was_resolved_is_an_issue_that_changed():
    event = parsed("issue")
    assert isinstance(event, IssueChanged)
    assert (event.number, event.action, event.state) == ("FRONT-END-1", "resolved", "resolved")
    assert event.title == "FRONT-END-1 resolved in front-end: ReferenceError: heck is not defined"
    assert (event.subject, event.actor) == ("front-end", "Person")
    assert event.url == "https://acme.sentry.io/issues/1170820242/"
    assert event.occurred_at == datetime(2026, 11, 20, 21, 6, 17, 677000, UTC)


def test_an_issue_alert_fires_for_its_project_and_rule():
    event = parsed("event_alert")
    assert isinstance(event, AlertEvent)
    assert (event.type, event.subject, event.severity) == ("alert.fired", "front-end", "error")
    assert event.name == "Very Important Alert Rule!"
    assert event.fingerprint == "Very Important Alert Rule!:1170820242"
    assert "heck is not defined" in event.summary


def test_a_metric_alert_fires_and_is_resolved_under_one_fingerprint():
    fired, ended = parsed("metric_alert"), parsed("metric_alert", action="resolved")
    assert isinstance(fired, AlertEvent)
    assert isinstance(ended, AlertEvent)
    assert (fired.type, fired.severity, fired.subject) == ("alert.fired", "critical", "back-end")
    assert (ended.type, ended.severity) == ("alert.resolved", None)
    assert fired.fingerprint == ended.fingerprint
    assert fired.title == "Too many errors critical in back-end: Critical: Too many errors"


def test_a_comment_and_an_error_and_an_installation_are_told_of():
    comment, error = parsed("comment"), parsed("error")
    assert isinstance(comment, IssueChanged)
    assert (comment.action, comment.subject) == ("comment_created", "sentry")
    assert comment.body == "adding a comment"
    assert isinstance(error, ActivityRecorded)
    assert (error.vendor_type, error.subject) == ("error", "checkout")
    installed = parsed("issue", action="deleted", data={"installation": {"uuid": "u"}})
    assert isinstance(installed, ActivityRecorded)
    assert installed.title == "Sentry: installation deleted"


def test_a_header_that_is_not_signed_does_not_change_what_is_told():
    """W01"""
    honest = delivered(recorded("issue"), **{"sentry-hook-resource": "issue"})
    lying = delivered(recorded("issue"), **{"sentry-hook-resource": "metric_alert"})
    [one], [other] = WEBHOOKS.parse(honest, ORIGIN), WEBHOOKS.parse(lying, ORIGIN)
    assert one.model_copy(update={"id": other.id}) == other
    assert not WEBHOOKS.signed_key


@pytest.mark.parametrize("secret", ["an older one", "s3cret"])
def test_each_secret_of_a_rotation_is_taken_and_no_other(secret):
    """W01"""
    WEBHOOKS.verify(delivered(recorded("issue"), secret), SECRETS)
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(recorded("issue"), "another"), SECRETS)
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(Delivery({}, b"{}", ARRIVED), SECRETS)


def test_no_byte_of_a_signed_body_can_change():
    raw = json.dumps(recorded("comment")).encode()
    right = delivered(raw)
    for position in range(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(Delivery(right.headers, bytes(changed), ARRIVED), SECRETS)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_wrong_with_a_body_it_is_read_or_refused(kind):
    """W04"""
    for body in mutations(recorded(kind)):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

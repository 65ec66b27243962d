"""Alertmanager's notifications, as Alertmanager 0.25.0 (Debian) sent them to a receiver: two alerts fired, then one was resolved."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.alertmanager.webhooks import WEBHOOKS
from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.events.model import EVENT, AlertEvent
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "alerts")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def delivered(body: object, authorization: str = "Bearer s3cret") -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({"authorization": authorization, "content-type": "application/json"}, raw, ARRIVED)


def test_every_alert_of_a_group_is_an_event():
    basket, checkout = WEBHOOKS.parse(delivered(recorded("firing")), ORIGIN)
    assert isinstance(basket, AlertEvent)
    assert isinstance(checkout, AlertEvent)
    assert [basket.type, checkout.type] == ["alert.fired", "alert.fired"]
    assert [basket.subject, checkout.subject] == ["basket", "checkout"]
    assert checkout.title == "CheckoutSlow fires for checkout: p99 above 2 s for 5 minutes"
    assert (checkout.name, checkout.severity, checkout.fingerprint) == (
        "CheckoutSlow",
        "critical",
        "cbb4adeac8c38eb3",
    )
    assert checkout.occurred_at == datetime(2026, 11, 20, 9, 51, 3, 157000, UTC)
    assert checkout.url == "http://prometheus.example/graph?g0.expr=x"
    assert EVENT.validate_json(EVENT.dump_json(checkout)) == checkout


def test_a_resolved_alert_ends_the_one_that_fired():
    fired = {e.fingerprint for e in WEBHOOKS.parse(delivered(recorded("firing")), ORIGIN)}  # type: ignore[union-attr]
    [still, ended] = WEBHOOKS.parse(delivered(recorded("one_resolved")), ORIGIN)
    assert (still.type, ended.type) == ("alert.fired", "alert.resolved")
    assert ended.fingerprint in fired  # type: ignore[union-attr]
    assert ended.occurred_at == datetime(2026, 11, 20, 10, 2, 33, tzinfo=UTC)


def test_a_group_that_is_repeated_unchanged_is_the_same_delivery():
    first, changed = recorded("firing"), recorded("one_resolved")
    reordered = {**first, "alerts": first["alerts"][::-1], "truncatedAlerts": 0}
    assert WEBHOOKS.delivery_key(delivered(first)) == WEBHOOKS.delivery_key(delivered(reordered))
    assert WEBHOOKS.delivery_key(delivered(first)) != WEBHOOKS.delivery_key(delivered(changed))


@pytest.mark.parametrize(
    "authorization", ["Bearer s3cret", "Bearer an older one", f"Basic {base64.b64encode(b's3cret').decode()}"]
)
def test_every_secret_in_force_opens_the_door(authorization):
    WEBHOOKS.verify(delivered(recorded("firing"), authorization), SECRETS)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer ", "Bearer S3cret", "Bearer s3cret ", "bearer s3cret", "s3cret", "Basic s3cret", "Bearer s3cret, Bearer s3cret"],
)  # fmt: skip
def test_anything_else_does_not(authorization):
    """W01"""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(recorded("firing"), authorization), SECRETS)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"alerts": []}', b"null", {"version": "1"}])
def test_a_body_that_is_no_group_is_refused(body):
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(delivered(body), ORIGIN)
    assert WEBHOOKS.delivery_key(delivered(body)) is None


def test_whatever_is_wrong_with_a_group_it_is_read_or_refused():
    """W04"""
    for body in mutations(recorded("firing")):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

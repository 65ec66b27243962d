"""Grafana's alert notifications: the example of its documentation (webhook notifier), cut to one alert."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.grafana.webhooks import SIGNATURE, TIMED_SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, AlertEvent
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "grafana-prod")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))
BODY = (RECORDED / "firing.json").read_bytes()
PLAIN, TIME = "x-grafana-alerting-signature", "x-grafana-alerting-timestamp"


def with_headers(headers: dict[str, str], body: bytes = BODY) -> Delivery:
    return Delivery(headers, body, ARRIVED)


def timed(age_s: float, body: bytes = BODY) -> dict[str, str]:
    at = int((ARRIVED - timedelta(seconds=age_s)).timestamp())
    return {PLAIN: TIMED_SIGNATURE.sign(body, "s3cret", timestamp=at), TIME: str(at)}


def content() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(BODY)
    return read


def test_an_alert_is_an_event():
    [event] = WEBHOOKS.parse(with_headers({}), ORIGIN)
    assert isinstance(event, AlertEvent)
    assert event.type == "alert.fired"
    assert (
        event.title == "High memory usage fires for High memory usage: This alert was triggered for zone us-1"
    )
    assert event.url == "https://play.grafana.org/alerting/1afz29v7z/edit"
    assert event.occurred_at == datetime(2021, 10, 12, 7, 51, 3, 157076, UTC)
    assert event.labels == {"alertname": "High memory usage", "team": "blue", "zone": "us-1"}


@pytest.mark.parametrize(
    "headers",
    [
        {PLAIN: SIGNATURE.sign(BODY, "s3cret")},
        {PLAIN: SIGNATURE.sign(BODY, "an older one")},
        timed(299),
        timed(-299),
        {"authorization": "Bearer s3cret"},
        {"authorization": f"Basic {base64.b64encode(b's3cret').decode()}"},
    ],
)
def test_each_way_to_prove_it_is_taken(headers):
    WEBHOOKS.verify(with_headers(headers), SECRETS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {PLAIN: ""},
        {PLAIN: SIGNATURE.sign(BODY, "guessed")},
        {PLAIN: SIGNATURE.sign(BODY, "s3cret").upper()},
        {PLAIN: SIGNATURE.sign(BODY, "s3cret")[:-1]},
        {PLAIN: f"{SIGNATURE.sign(BODY, 's3cret')}, {SIGNATURE.sign(BODY, 's3cret')}"},
        {PLAIN: SIGNATURE.sign(BODY, "guessed"), "authorization": "Bearer s3cret"},
        timed(301),
        timed(-301),
        {**timed(0), TIME: "-1"},
        {**timed(0), TIME: "1e999"},
        {PLAIN: timed(0)[PLAIN]},
        {PLAIN: SIGNATURE.sign(BODY, "s3cret"), TIME: timed(0)[TIME]},
        {"authorization": "Bearer guessed"},
    ],
)
def test_anything_else_is_refused(headers):
    """W01, W05: neither kind of signature passes for the other, and a token does not make up for a wrong signature."""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(with_headers(headers), SECRETS)


def test_alertmanagers_version_is_not_grafanas():
    with pytest.raises(InvalidInput, match="version"):
        WEBHOOKS.parse(with_headers({}, json.dumps({**content(), "version": "4"}).encode()), ORIGIN)


def test_whatever_is_wrong_with_a_group_it_is_read_or_refused():
    """W04"""
    for body in mutations(content()):
        try:
            events = WEBHOOKS.parse(with_headers({}, json.dumps(body).encode()), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

"""SonarQube's webhooks: the example of its documentation (Webhooks, payload), retyped."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.sonarqube.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, ScanFinished
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

BODY = (Path(__file__).parent / "recorded" / "failed_gate.json").read_bytes()
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "sonar")
SECRETS = (SecretStr("an older secret of 16"), SecretStr("a secret of 16 characters"))
HEADER = "x-sonar-webhook-hmac-sha256"


def delivered(body: object = BODY, signature: str | None = None) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    signed = SIGNATURE.sign(raw, SECRETS[1].get_secret_value()) if signature is None else signature
    return Delivery({HEADER: signed, "x-sonarqube-project": "myproject"}, raw, ARRIVED)


def content() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(BODY)
    return read


def parsed(body: object) -> ScanFinished:
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    assert isinstance(event, ScanFinished)
    return event


def test_a_red_gate_is_a_failed_scan_that_says_why():
    event = parsed(BODY)
    assert event.title == "SonarQube analysed My Project on main: quality gate ERROR"
    assert (event.subject, event.status, event.failed) == ("myproject", "ERROR", True)
    assert event.findings == ("new_reliability_rating is 4 (limit 1)",)
    assert event.url == "https://mycompany.com/sonarqube/dashboard?id=myproject&branch=main"
    assert event.occurred_at == datetime(2016, 11, 18, 9, 46, 28, tzinfo=UTC)
    assert WEBHOOKS.delivery_key(delivered()) == "AVh21JS2JepAEhwQ-b3u"


@pytest.mark.parametrize(
    ("changes", "status", "failed"),
    [
        ({"qualityGate": {"name": "x", "status": "OK", "conditions": []}}, "OK", False),
        ({"status": "FAILED", "qualityGate": None}, "FAILED", True),
        ({"status": "CANCELLED", "qualityGate": {}}, "CANCELLED", True),
    ],
)
def test_the_gate_decides_and_without_one_the_analysis(changes, status, failed):
    body = {name: value for name, value in {**content(), **changes}.items() if value is not None}
    event = parsed(body)
    assert (event.status, event.failed) == (status, failed)


def test_a_change_of_the_gate_has_no_task_and_is_told_by_its_body():
    assert WEBHOOKS.delivery_key(delivered({k: v for k, v in content().items() if k != "taskId"})) is None


def test_every_secret_in_force_is_taken():
    for secret in SECRETS:
        WEBHOOKS.verify(delivered(BODY, SIGNATURE.sign(BODY, secret.get_secret_value())), SECRETS)


@pytest.mark.parametrize(
    "change",
    [
        lambda right: "",
        lambda right: right.upper(),
        lambda right: right[:-1],
        lambda right: f"sha256={right}",
        lambda right: f"{right}, {right}",
    ],
)
def test_a_signature_of_another_form_is_refused(change):
    """W01"""
    right = SIGNATURE.sign(BODY, SECRETS[1].get_secret_value())
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(BODY, change(right)), SECRETS)


def test_no_byte_of_a_signed_body_can_change():
    right = SIGNATURE.sign(BODY, SECRETS[1].get_secret_value())
    for position in range(0, len(BODY), 7):
        changed = bytearray(BODY)
        changed[position] ^= 1
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(delivered(bytes(changed), right), SECRETS)


def test_whatever_is_wrong_with_a_body_it_is_read_or_refused():
    """W04"""
    for body in mutations(content()):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

"""Xray's webhooks: the example of JFrog's article 000006214 (webhook payload format), retyped."""

import base64
import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.jfrog import SIGNATURE
from devops_mcp.adapters.xray.webhooks import WEBHOOKS
from devops_mcp.events.model import EVENT, ScanFinished
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

BODY: dict[str, Any] = json.loads((Path(__file__).parent / "recorded" / "violation.json").read_bytes())
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "scanner")
SECRETS = (SecretStr("an older one"), SecretStr("xray:s3cret"))


def delivered(body: object, **headers: str) -> Delivery:
    return Delivery(headers, json.dumps(body).encode(), ARRIVED)


def parsed(body: object) -> ScanFinished:
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    assert isinstance(event, ScanFinished)
    return event


def test_a_violation_is_a_failed_scan_of_its_watch():
    event = parsed(BODY)
    assert event.title == (
        "Xray found 1 violation of test-watch, at worst Critical in "
        "org.apache.pinot:pinot-distribution:0.10.0 (policy test-policy)"
    )
    assert (event.subject, event.status, event.failed) == ("test-watch", "Critical", True)
    assert event.findings == (
        "XRAY-173753 (Medium security) in org.apache.pinot:pinot-distribution:0.10.0: [Vulnerability Summary]",
    )
    assert event.occurred_at == datetime(2024, 10, 1, 21, 25, 49, 935220, UTC)


def test_the_worst_of_many_issues_is_in_the_title_and_the_rest_is_bounded():
    body = copy.deepcopy(BODY)
    issue = body["issues"][0] | {"cve": "CVE-2021-28168", "summary": "long " * 200}
    issue["impacted_artifacts"] = [{"name": f"artifact-{number}.jar"} for number in range(5)]
    body["issues"] = [issue] * 100
    event = parsed(body)
    assert event.title.startswith("Xray found 100 violations of test-watch, at worst Critical")
    assert len(event.findings) == 30
    assert event.findings[0].startswith(
        "CVE-2021-28168 (Medium security) in artifact-0.jar, artifact-1.jar, artifact-2.jar and 2 more: long"
    )
    assert len(event.findings[0]) <= 300


def test_user_and_password_the_secret_itself_or_a_signature_proves_the_sender():
    raw = delivered(BODY).body
    basic = "Basic " + base64.b64encode(b"xray:s3cret").decode()
    for headers in (
        {"authorization": basic},
        {"x-jfrog-event-auth": "xray:s3cret"},
        {"x-jfrog-event-auth": SIGNATURE.sign(raw, "xray:s3cret")},
    ):
        WEBHOOKS.verify(Delivery(headers, raw, ARRIVED), SECRETS)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic " + base64.b64encode(b"xray:wrong").decode()},
        {"authorization": "Basic xray:s3cret"},
        {"authorization": "Bearer xray:s3cret"},
        {"x-jfrog-event-auth": SIGNATURE.sign(b"{}", "xray:s3cret")},
    ],
)
def test_nothing_else_does(headers):
    """W01"""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(BODY, **headers), SECRETS)


def test_whatever_is_wrong_with_a_body_it_is_read_or_refused():
    """W04"""
    for body in mutations(BODY):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

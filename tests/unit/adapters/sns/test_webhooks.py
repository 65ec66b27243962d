"""Amazon SNS: examples of its developer guide (message formats) and of CloudWatch, signed here with a key and certificate of our own."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.sns.config import SnsSettings, region_url
from devops_mcp.adapters.sns.webhooks import WEBHOOKS, verify
from devops_mcp.events.model import EVENT, ActivityRecorded
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations
from support.sns_topic import certificate, signed

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(path.stem for path in RECORDED.iterdir())
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "alarms")
CERTIFICATES = (SecretStr(certificate(ARRIVED - timedelta(days=1))),)
HEADERS = {"content-type": "text/plain; charset=UTF-8"}


def recorded(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return read


def delivered(message: object) -> Delivery:
    return Delivery(HEADERS, json.dumps(message).encode(), ARRIVED)


def parsed(name: str) -> ActivityRecorded:
    [event] = WEBHOOKS.parse(delivered(recorded(name)), ORIGIN)
    assert isinstance(event, ActivityRecorded)
    return event


def test_a_notification_tells_its_topic_and_subject():
    event = parsed("notification")
    assert (event.title, event.subject) == ("MyTopic: My First Message", "MyTopic")
    assert (event.vendor_type, event.action) == ("Notification", None)
    assert event.occurred_at == datetime(2012, 5, 2, 0, 54, 6, 655000, UTC)
    assert parsed("cloudwatch_alarm").title == (
        'cloudwatch-alarms: ALARM: "Example alarm name" in EU - Ireland'
    )


def test_a_notification_without_a_subject_begins_with_its_message():
    message = {name: value for name, value in recorded("notification").items() if name != "Subject"}
    [event] = WEBHOOKS.parse(delivered(message), ORIGIN)
    assert event.title == "MyTopic: Hello world!"


def test_the_beginning_and_the_end_of_a_subscription_are_recorded():
    began, ended = parsed("subscription_confirmation"), parsed("unsubscribe_confirmation")
    assert (began.action, ended.action) == ("subscribed", "unsubscribed")


def test_a_repeated_message_is_told_by_its_signed_id():
    assert (
        WEBHOOKS.delivery_key(delivered(recorded("notification"))) == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    )
    assert WEBHOOKS.delivery_key(delivered({})) is None
    assert WEBHOOKS.signed_key


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("name", NAMES)
def test_messages_of_both_signature_versions_verify(name, version):
    verify(delivered(signed(recorded(name), version)), CERTIFICATES)


@pytest.mark.parametrize("name", ["notification", "subscription_confirmation"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_no_signed_field_can_change(name, version):
    message = signed(recorded(name), version)
    free = {"SigningCertURL", "UnsubscribeURL", "SignatureVersion", "Signature"}
    for field in message.keys() - free:
        for changed in (message[field] + "x", message[field][1:], message[field].swapcase(), ""):
            with pytest.raises(Unauthenticated):
                verify(delivered(message | {field: changed}), CERTIFICATES)
        with pytest.raises(Unauthenticated):
            verify(delivered({k: v for k, v in message.items() if k != field}), CERTIFICATES)


def test_a_subject_that_was_not_signed_cannot_be_added():
    message = signed({name: v for name, v in recorded("notification").items() if name != "Subject"})
    with pytest.raises(Unauthenticated):
        verify(delivered(message | {"Subject": ""}), CERTIFICATES)


@pytest.mark.parametrize("version", ["1", "2"])
def test_the_version_must_be_that_of_the_signature(version):
    message = signed(recorded("notification"), version)
    for other in ("2" if version == "1" else "1", "3", "", "0", 1, None):
        with pytest.raises(Unauthenticated):
            verify(delivered(message | {"SignatureVersion": other}), CERTIFICATES)


@pytest.mark.parametrize("signature", ["", "AAAA", "not base64", "é", None, "A" * 3_000])
def test_another_signature_is_refused(signature):
    """W01"""
    with pytest.raises(Unauthenticated):
        verify(delivered(signed(recorded("notification")) | {"Signature": signature}), CERTIFICATES)


def test_a_signed_text_cannot_be_read_in_two_ways():
    """A publisher writes Message and Subject: line ends in them must not move a boundary between fields."""
    inner = "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    message = recorded("notification") | {
        "Message": f"A\nMessageId\n{inner}\nSubject\nB",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    }
    genuine = signed({name: value for name, value in message.items() if name != "Subject"})
    verify(delivered(genuine), CERTIFICATES)
    shifted = genuine | {
        "Message": "A",
        "MessageId": inner,
        "Subject": f"B\nMessageId\n{message['MessageId']}",
    }
    with pytest.raises(Unauthenticated):
        verify(delivered(shifted), CERTIFICATES)


def test_a_certificate_counts_only_while_it_is_in_force():
    message = delivered(signed(recorded("notification")))
    for begins in (ARRIVED + timedelta(hours=1), ARRIVED - timedelta(days=366)):
        with pytest.raises(Unauthenticated):
            verify(message, (SecretStr(certificate(begins)),))


@pytest.mark.parametrize(
    "pem", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "<html>"]
)
def test_what_is_no_certificate_verifies_nothing(pem):
    with pytest.raises(Unauthenticated):
        verify(delivered(signed(recorded("notification"))), (SecretStr(pem),))


def test_without_a_certificate_nothing_verifies():
    with pytest.raises(Unauthenticated):
        verify(delivered(signed(recorded("notification"))), ())


def test_a_raw_message_has_no_signature_and_is_refused():
    with pytest.raises(Unauthenticated, match="raw message delivery"):
        verify(delivered({"AlarmName": "x"}), CERTIFICATES)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_wrong_with_a_message_it_is_read_or_refused(name):
    """W04"""
    for body in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        ("arn:aws:sns:eu-central-1:123456789012:a", "https://sns.eu-central-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:a", "https://sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:a", "https://sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_sns_is_reached_in_the_region_of_the_topic(topic, address):
    assert region_url(SnsSettings(topics=(topic,)).topics[0]) == address


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"topics": []},
        {"topics": ["MyTopic"]},
        {"topics": ["arn:aws:sns:evil.example/#:123456789012:a"]},
        {"topics": ["arn:aws:sqs:us-east-1:123456789012:a"]},
        {"topics": ["arn:aws:sns:us-east-1:123456789012:*"]},
        {"topics": ["arn:aws:sns:us-east-1:123456789012:a"], "endpoint_url": "http://user@host"},
    ],
)
def test_settings_that_cannot_work_are_refused(options):
    """C01"""
    with pytest.raises(ValidationError):
        SnsSettings.model_validate(options)


def test_a_signature_is_written_in_one_way_only():
    """Of the last character before the padding only two bits count."""
    message = signed(recorded("notification"))
    right = message["Signature"]
    assert right.endswith("==")
    verify(delivered(message), CERTIFICATES)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(right[-3]) ^ 1]
    with pytest.raises(Unauthenticated):
        verify(delivered({**message, "Signature": f"{right[:-3]}{other}=="}), CERTIFICATES)

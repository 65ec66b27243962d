"""CloudEvents over HTTP: the examples of its specification (spec.md, JSON format, HTTP binding), and its webhooks' handshake."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.cloudevents.config import CloudEventsSettings
from devops_mcp.adapters.cloudevents.webhooks import BATCHED, STRUCTURED, WEBHOOKS, handshake
from devops_mcp.events.model import EVENT, ActivityRecorded
from devops_mcp.models.errors import Forbidden, InvalidInput, Unauthenticated, UnsupportedFormat
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ONE: dict[str, Any] = json.loads((RECORDED / "structured.json").read_bytes())
TWO: list[dict[str, Any]] = json.loads((RECORDED / "batch.json").read_bytes())
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "grid")
BINARY = {
    "ce-specversion": "1.0",
    "ce-type": "com.example.someevent",
    "ce-time": "2018-04-05T03:56:24Z",
    "ce-id": "1234-1234-1234",
    "ce-source": "/mycontext/subcontext",
    "content-type": "application/json; charset=utf-8",
}


def as_json(body: object, media_type: str = f"{STRUCTURED}; charset=UTF-8") -> Delivery:
    return Delivery({"content-type": media_type}, json.dumps(body).encode(), ARRIVED)


def binary(body: bytes = b"\x00 not text at all \xff", **headers: str) -> Delivery:
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery(BINARY | changed, body, ARRIVED)


def activities(delivery: Delivery) -> list[ActivityRecorded]:
    events = WEBHOOKS.parse(delivery, ORIGIN)
    return [event for event in events if isinstance(event, ActivityRecorded)]


def test_a_structured_event_is_read_from_the_body():
    [event] = activities(as_json(ONE))
    assert event.title == "com.github.pull_request.opened from https://github.com/cloudevents/spec/pull: 123"
    assert event.subject == "https://github.com/cloudevents/spec/pull"
    assert event.vendor_type == "com.github.pull_request.opened"
    assert event.occurred_at == datetime(2018, 4, 5, 17, 31, tzinfo=UTC)


def test_a_binary_event_is_read_from_the_headers_whatever_the_body():
    [event] = activities(binary())
    assert event.title == "com.example.someevent from /mycontext/subcontext"
    assert event.occurred_at == datetime(2018, 4, 5, 3, 56, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € \U0001f600"),
        ('"a \\"quoted\\" subject"', 'a "quoted" subject'),
        ("plain", "plain"),
        ("%61%62", "ab"),
    ],
)
def test_headers_are_unescaped_as_the_binding_says(written, read):
    [event] = activities(binary(ce_subject=written))
    assert event.title.endswith(f": {read}")


def test_overlong_utf8_in_a_header_is_refused():
    with pytest.raises(InvalidInput):
        activities(binary(ce_subject="%C0%A0"))


def test_a_batch_gives_an_event_for_each_and_may_be_empty():
    assert [event.vendor_type for event in activities(as_json(TWO, BATCHED))] == [
        "com.example.someevent",
        "com.example.someotherevent",
    ]
    assert activities(as_json([], BATCHED)) == []
    assert WEBHOOKS.delivery_key(as_json([], BATCHED)) is None


def test_events_are_told_apart_by_source_and_id_and_not_by_the_body():
    same = {binary().body, binary(ce_id="another").body}
    assert len(same) == 1
    keys = {
        WEBHOOKS.delivery_key(given)
        for given in (
            binary(),
            binary(ce_id="2"),
            binary(ce_source="/2"),
            as_json(ONE),
            as_json(TWO, BATCHED),
        )
    }
    assert len(keys) == 5
    assert None not in keys
    assert WEBHOOKS.delivery_key(as_json(TWO[::-1], BATCHED)) in keys
    assert WEBHOOKS.signed_key


def test_an_event_is_the_same_in_every_mode():
    headers = {
        f"ce_{name}": str(ONE[name]) for name in ("specversion", "type", "source", "subject", "id", "time")
    }
    keys = {
        WEBHOOKS.delivery_key(given)
        for given in (as_json(ONE), as_json([ONE], BATCHED), binary(b"<much/>", **headers))
    }
    assert len(keys) == 1


@pytest.mark.parametrize("media_type", ["application/cloudevents+avro", "application/cloudevents-batch+cbor"])
def test_other_formats_are_refused_as_such(media_type):
    with pytest.raises(UnsupportedFormat):
        activities(as_json(ONE, media_type))
    assert WEBHOOKS.delivery_key(as_json(ONE, media_type)) is None


@pytest.mark.parametrize(
    "given",
    [
        as_json(TWO),
        as_json(ONE, BATCHED),
        as_json([ONE] * 1_001, BATCHED),
        as_json(ONE | {"specversion": "0.3"}),
        as_json(ONE | {"id": ""}),
        Delivery({"content-type": STRUCTURED}, b"{", ARRIVED),
        Delivery({"content-type": "application/json"}, b"{}", ARRIVED),
        Delivery({}, b"", ARRIVED),
    ],
)
def test_what_is_no_cloudevent_is_refused(given):
    with pytest.raises(InvalidInput):
        activities(given)


def test_whatever_is_wrong_with_an_event_it_is_read_or_refused():
    for body in mutations(ONE):
        try:
            events = activities(as_json(body))
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event


@pytest.mark.parametrize(
    ("authorization", "accepted"),
    [
        ("Bearer t0ken", True),
        ("Bearer older", True),
        ("Bearer T0ken", False),
        ("Bearer t0ken, Bearer t0ken", False),
        ("t0ken", False),
        ("", False),
    ],
)
def test_only_the_bearer_of_a_token_in_force_may_deliver(authorization, accepted):
    given = Delivery({"authorization": authorization}, b"", ARRIVED)
    secrets = (SecretStr("t0ken"), SecretStr("older"))
    if accepted:
        WEBHOOKS.verify(given, secrets)
    else:
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(given, secrets)


def test_any_sender_is_given_leave_unless_the_settings_name_some():
    asked = {"webhook-request-origin": "EventGrid.azure.net", "webhook-request-rate": "120"}
    assert handshake(CloudEventsSettings(), asked) == {
        "WebHook-Allowed-Origin": "EventGrid.azure.net",
        "WebHook-Allowed-Rate": "*",
    }
    some = CloudEventsSettings(allowed_origins=("eventgrid.azure.net",), allowed_rate=100)
    assert handshake(some, asked)["WebHook-Allowed-Rate"] == "100"
    with pytest.raises(Forbidden):
        handshake(some, {"webhook-request-origin": "eventgrid.azure.net.example.com"})


@pytest.mark.parametrize("origin", ["", "*", "a b", "a\r\nSet-Cookie: x", "é", "x" * 254])
def test_a_handshake_of_nobody_is_refused(origin):
    with pytest.raises(InvalidInput):
        handshake(CloudEventsSettings(), {"webhook-request-origin": origin})


@pytest.mark.parametrize(
    "options", [{"allowed_origins": ["A B"]}, {"allowed_rate": 0}, {"allowed_origins": [""]}]
)
def test_settings_that_cannot_work_are_refused(options):
    """C01"""
    with pytest.raises(ValidationError):
        CloudEventsSettings.model_validate(options)

"""Slack's events: examples of docs.slack.dev (event object, message/channel_topic, url_verification), and a fixture of npm's slapp."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.slack.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, ActivityRecorded
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
NOW = int(ARRIVED.timestamp())
ORIGIN = Origin(DEFAULT_TENANT_ID, "chat")
SECRETS = (SecretStr("an older one"), SecretStr("8f742231b10e8888abcd99yyyzzz85a5"))


def recorded(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return read


def delivered(body: object, *, at: int = NOW, secret: SecretStr = SECRETS[1]) -> Delivery:
    raw = json.dumps(body).encode()
    signature = SIGNATURE.sign(raw, secret.get_secret_value(), timestamp=at)
    return Delivery({"x-slack-signature": signature, "x-slack-request-timestamp": str(at)}, raw, ARRIVED)


def parsed(body: object) -> ActivityRecorded:
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    assert isinstance(event, ActivityRecorded)
    return event


def test_a_message_says_where_who_and_what():
    event = parsed(recorded("message"))
    assert event.title == "Slack message in D0PNCRP9N by U061F7AUR: How many cats did we herd yesterday?"
    assert (event.subject, event.actor, event.vendor_type, event.action) == (
        "D0PNCRP9N",
        "U061F7AUR",
        "message",
        None,
    )
    assert event.occurred_at == datetime(2018, 5, 1, 22, 52, 9, tzinfo=UTC)


def test_a_message_of_a_kind_names_it_and_the_workspace_stands_in_for_a_channel():
    event = parsed(recorded("channel_topic"))
    assert (event.vendor_type, event.action, event.subject) == ("message", "channel_topic", "T123ABC456")


def test_a_reaction_is_in_the_channel_of_what_it_is_to():
    event = parsed(recorded("reaction_added"))
    assert event.title == "Slack reaction added in DXXXXXXXX by UXXXXXXXX: +1"
    assert event.occurred_at == ARRIVED


def test_what_slack_says_of_itself_is_recorded():
    limited = {"token": "x", "type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1518467820}
    assert parsed(limited).vendor_type == "app_rate_limited"


async def test_the_challenge_is_given_back_and_no_event_made():
    given = delivered(recorded("url_verification"))
    WEBHOOKS.verify(given, SECRETS)
    assert WEBHOOKS.parse(given, ORIGIN) == ()
    assert WEBHOOKS.respond is not None
    answer = await WEBHOOKS.respond(None, given)
    assert answer is not None
    assert json.loads(answer.body) == {"challenge": recorded("url_verification")["challenge"]}


async def test_an_event_needs_no_answer_and_a_challenge_that_is_none_is_refused():
    assert WEBHOOKS.respond is not None
    assert await WEBHOOKS.respond(None, delivered(recorded("message"))) is None
    for challenge in (None, 7, "", "x" * 1_001, {"nested": "x"}):
        with pytest.raises(InvalidInput):
            await WEBHOOKS.respond(None, delivered({"type": "url_verification", "challenge": challenge}))


def test_a_repeated_delivery_is_told_by_its_event():
    assert WEBHOOKS.delivery_key(delivered(recorded("message"))) == "Ev0PV52K25"
    assert WEBHOOKS.delivery_key(delivered(recorded("reaction_added"))) is None
    assert WEBHOOKS.signed_key


def test_every_secret_in_force_is_taken_and_no_other():
    for secret in SECRETS:
        WEBHOOKS.verify(delivered(recorded("message"), secret=secret), SECRETS)
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(recorded("message"), secret=SecretStr("another")), SECRETS)


@pytest.mark.parametrize("late", [-301, 301])
def test_a_delivery_from_another_time_is_refused(late):
    """W05"""
    WEBHOOKS.verify(delivered(recorded("message"), at=NOW + late - (1 if late > 0 else -1) * 2), SECRETS)
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(recorded("message"), at=NOW + late), SECRETS)


@pytest.mark.parametrize("name", ["message", "channel_topic", "reaction_added", "url_verification"])
def test_whatever_is_wrong_with_a_body_it_is_read_or_refused(name):
    """W04"""
    for body in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

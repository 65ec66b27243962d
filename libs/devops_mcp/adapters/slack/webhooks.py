"""Slack's events, one a delivery, and the question whether an address is ours.

Signed over version, time and raw body with HMAC-SHA256 in `X-Slack-Signature`. The event's id is in the body and so signed; a repeated
delivery carries the same. Before Slack takes an address, it sends a signed `url_verification` there and wants the challenge back. Slash
commands and buttons are forms, and are not read.
"""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import Field

from devops_mcp.adapters.base import Answer, Delivery, Origin, WebhookSource
from devops_mcp.adapters.code_hosts import Time, named, shaped
from devops_mcp.adapters.deliveries import about, json_object, told
from devops_mcp.adapters.shapes import Shape
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import ActivityRecorded, Event
from devops_mcp.models.errors import InvalidInput

SYSTEM = "slack"
SIGNATURE = HmacSha256(
    "X-Slack-Signature",
    prefix="v0=",
    text="v0:{ts}:{body}",
    timestamp_header="X-Slack-Request-Timestamp",
)
URL_VERIFICATION = "url_verification"


class _Envelope(Shape):
    """What is around an event; what Slack says of itself, such as that it sends too much, has none inside."""

    type: str = Field(min_length=1, max_length=100)
    team: str = Field(default="", validation_alias="team_id")
    at: Time = Field(default=None, validation_alias="event_time")
    event: dict[str, Any] = Field(default_factory=dict)


class _Challenge(Shape):
    challenge: str = Field(min_length=1, max_length=1_000)


def delivery_key(delivery: Delivery) -> str | None:
    """The event's id, the same when it is delivered again."""
    try:
        return named(json_object(delivery), "event_id")
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """What happened in a workspace; nothing for the question whether an address is ours."""
    body = json_object(delivery)
    envelope = shaped("Slack", _Envelope, body)
    if envelope.type == URL_VERIFICATION:
        return ()
    return (_activity(envelope, delivery, origin),)


async def respond(client: None, delivery: Delivery) -> Answer | None:
    """The challenge, where that is what Slack asks for."""
    body = json_object(delivery)
    if body.get("type") != URL_VERIFICATION:
        return None
    return Answer(orjson.dumps({"challenge": shaped("Slack", _Challenge, body).challenge}))


def _activity(envelope: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    event = envelope.event
    kind = (named(event, "type") or envelope.type)[:100]
    actor = named(event, "user", "user.id", "user_id", "bot_id")
    channel = named(event, "channel", "channel.id", "item.channel", "channel_id")
    return ActivityRecorded(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=channel or envelope.team or SYSTEM,
            title=_title(event, kind, channel, actor),
            actor=actor,
            at=envelope.at,
        ),
        vendor_type=kind,
        action=(named(event, "subtype", "reaction") or "")[:100] or None,
    )


def _title(event: Mapping[str, Any], kind: str, channel: str | None, actor: str | None) -> str:
    where = f" in {channel}" if channel else ""
    by = f" by {actor}" if actor else ""
    said = named(event, "text", "message.text", "channel.name", "reaction", "app_name") or ""
    return f"Slack {kind.replace('_', ' ')}{where}{by}{about(said)}"


WEBHOOKS = WebhookSource(
    verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse, signed_key=True, respond=respond
)

"""CloudEvents in their three modes over HTTP, and the handshake of their webhooks.

Binary: the attributes are headers, the body is the data. Structured: one event as JSON. Batched: an array of them. The sender proves itself
by a bearer token, which covers nothing, so source and id, which together are an event's identity, are worth as much as the body.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import orjson
from pydantic import Field

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.cloudevents.config import CloudEventsSettings
from devops_mcp.adapters.code_hosts import Time, shaped
from devops_mcp.adapters.deliveries import about, told
from devops_mcp.adapters.shapes import FirstLine, Shape
from devops_mcp.adapters.signatures import SharedToken
from devops_mcp.events.model import ActivityRecorded, Event
from devops_mcp.models.errors import Forbidden, InvalidInput, UnsupportedFormat

SYSTEM = "cloudevents"
TOKEN = SharedToken("Authorization", prefix="Bearer ")
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MAX_EVENTS = 1_000
_ANY_FORMAT = "application/cloudevents"
_ORIGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,252}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class CloudEvent(Shape):
    """The attributes that an event is told by; `subject` is what it is about within its source."""

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=1_000)
    source: str = Field(min_length=1, max_length=2_000)
    type: str = Field(min_length=1, max_length=500)
    subject: FirstLine = ""
    time: Time = None


def delivery_key(delivery: Delivery) -> str | None:
    """Source and id of every event in it, whatever their order; None for a body that `parse` refuses."""
    try:
        pairs = sorted((event.source, event.id) for event in events_of(delivery))
    except (InvalidInput, UnsupportedFormat):
        return None
    return sha256(json.dumps(pairs).encode()).hexdigest() if pairs else None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """One event for each; none for an empty batch. Raises `UnsupportedFormat` for formats other than JSON."""
    return tuple(_activity(event, delivery, origin) for event in events_of(delivery))


def handshake(settings: CloudEventsSettings, headers: Mapping[str, str]) -> Mapping[str, str]:
    """Leave to deliver, for the origin that asks for it."""
    asked = headers.get("webhook-request-origin", "")
    if not _ORIGIN.fullmatch(asked):
        raise InvalidInput("who asks leave to deliver names itself in the header WebHook-Request-Origin")
    if "*" not in settings.allowed_origins and asked.lower() not in settings.allowed_origins:
        raise Forbidden(f"{asked} may not deliver here; see allowed_origins")
    rate = "*" if settings.allowed_rate is None else str(settings.allowed_rate)
    return {"WebHook-Allowed-Origin": asked, "WebHook-Allowed-Rate": rate}


def events_of(delivery: Delivery) -> tuple[CloudEvent, ...]:
    """The events in a delivery, whichever mode it has."""
    media_type = delivery.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == BATCHED:
        return tuple(_read(event) for event in _batch(delivery))
    if media_type == STRUCTURED:
        return (_read(_json(delivery)),)
    if media_type.startswith(_ANY_FORMAT):
        raise UnsupportedFormat(f"events come as {media_type}; only {STRUCTURED} and {BATCHED} are read")
    return (_read(_attributes(delivery)),)


def _batch(delivery: Delivery) -> list[Any]:
    batch = _json(delivery)
    if not isinstance(batch, list) or len(batch) > MAX_EVENTS:
        raise InvalidInput(f"the body is not a batch of at most {MAX_EVENTS} events")
    return batch


def _json(delivery: Delivery) -> Any:
    try:
        return orjson.loads(delivery.body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None


def _attributes(delivery: Delivery) -> dict[str, str]:
    """The attributes that are headers."""
    return {
        name: _unescaped(delivery.headers[f"ce-{name}"])
        for name in CloudEvent.model_fields
        if f"ce-{name}" in delivery.headers
    }


def _unescaped(value: str) -> str:
    """A header's value as the binding writes it: perhaps in quotes, and percent-encoded UTF-8."""
    quoted = _QUOTED.fullmatch(value)
    plain = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value
    try:
        return unquote_to_bytes(plain.encode("latin-1")).decode()
    except UnicodeError:
        raise InvalidInput("a ce- header is not percent-encoded UTF-8") from None


def _read(raw: Any) -> CloudEvent:
    return shaped("CloudEvents", CloudEvent, raw)


def _activity(event: CloudEvent, delivery: Delivery, origin: Origin) -> Event:
    return ActivityRecorded(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=event.source,
            title=f"{event.type} from {event.source}{about(event.subject)}",
            at=event.time,
        ),
        vendor_type=event.type,
    )


WEBHOOKS = WebhookSource(
    verify=TOKEN.verify, delivery_key=delivery_key, parse=parse, signed_key=True, handshake=handshake
)

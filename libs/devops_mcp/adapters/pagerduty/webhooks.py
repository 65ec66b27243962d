"""PagerDuty's webhooks v3, one event a delivery.

Signed over the raw body with HMAC-SHA256 in `X-PagerDuty-Signature`: `v1=` and hex, several with commas between while a secret is
exchanged. The event's id and type are in the body and so signed.
"""

import re
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.deliveries import about, json_object, told
from devops_mcp.adapters.shapes import FirstLine, Shape, read
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import ActivityRecorded, AlertEvent, Event, IssueChanged
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

SYSTEM = "pagerduty"
SIGNATURE = HmacSha256("X-PagerDuty-Signature", prefix="v1=", separator=",")
PING = "pagey.ping"
ShapeT = TypeVar("ShapeT", bound=Shape)
_TYPE = re.compile(r"[a-z][a-z_]{0,30}\.[a-z][a-z_.]{0,60}")
_ALERTS: dict[str, Literal["alert.fired", "alert.resolved"]] = {
    "incident.triggered": "alert.fired",
    "incident.reopened": "alert.fired",
    "incident.resolved": "alert.resolved",
}


class _Event(Shape):
    id: str = Field(min_length=1, max_length=100)
    type: str = Field(validation_alias="event_type")
    at: datetime = Field(validation_alias="occurred_at")
    by: FirstLine = Field(default="", validation_alias=AliasPath("agent", "summary"))
    data: dict[str, Any]


class _Incident(Shape):
    id: str = Field(min_length=1, max_length=100)
    number: int | None = None
    title: FirstLine
    status: FirstLine = ""
    url: str | None = Field(default=None, validation_alias="html_url")
    service: FirstLine = Field(default="", validation_alias=AliasPath("service", "summary"))
    urgency: FirstLine = ""
    priority: FirstLine = Field(default="", validation_alias=AliasPath("priority", "summary"))


class _Other(Shape):
    """Anything else: services, and what is said of an incident."""

    url: str | None = Field(default=None, validation_alias="html_url")
    summary: FirstLine = ""
    incident: FirstLine = Field(default="", validation_alias=AliasPath("incident", "summary"))


def delivery_key(delivery: Delivery) -> str | None:
    """The event's id; None for a body that `parse` refuses."""
    try:
        return _event(delivery).id
    except InvalidInput:
        return None


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event; none for a ping. An incident that is triggered fires, one that is resolved ends it."""
    event = _event(delivery)
    if event.type == PING:
        return ()
    if event.type.startswith("incident.") and event.data.get("type") == "incident":
        return (_incident(event, delivery, origin),)
    other = _shaped(_Other, event.data)
    subject = other.summary or other.incident or "pagerduty"
    words = event.type.replace("_", " ").replace(".", " ")
    recorded = ActivityRecorded(
        **told(
            SYSTEM,
            delivery,
            origin,
            subject=subject,
            title=f"PagerDuty: {words}{about(other.incident or other.summary)}",
            url=other.url,
            actor=event.by or None,
            at=event.at,
        ),
        vendor_type=event.type,
        action=event.type.partition(".")[2],
    )
    return (recorded,)


def _incident(event: _Event, delivery: Delivery, origin: Origin) -> Event:
    incident = _shaped(_Incident, event.data)
    action = event.type.partition(".")[2]
    subject = incident.service or incident.title
    name = f"Incident {incident.number}" if incident.number is not None else "Incident"
    fields = told(
        SYSTEM,
        delivery,
        origin,
        subject=subject,
        title=f"{name} {action.replace('_', ' ')} for {subject}{about(incident.title)}",
        url=incident.url,
        actor=event.by or None,
        at=event.at,
    )
    kind = _ALERTS.get(event.type)
    if kind is None:
        return IssueChanged(
            **fields,
            number=str(incident.number if incident.number is not None else incident.id),
            action=action,
            state=incident.status or None,
        )
    return AlertEvent(
        **fields,
        type=kind,
        name=incident.title,
        severity=incident.priority or incident.urgency or None,
        fingerprint=incident.id,
        summary=incident.title,
    )


def _event(delivery: Delivery) -> _Event:
    event = _shaped(_Event, json_object(delivery).get("event"))
    if not _TYPE.fullmatch(event.type):
        raise InvalidInput("body.event.event_type does not name an event")
    return event


def _shaped(shape: type[ShapeT], raw: Any) -> ShapeT:
    try:
        return read(shape, raw)
    except UpstreamInvalid as error:
        raise InvalidInput(f"the body is not that of a PagerDuty event: {error}") from None


WEBHOOKS = WebhookSource(verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse, signed_key=True)

"""Sentry's webhooks: what an internal or public integration is told of issues, errors, comments and alerts.

Signed over the raw body with HMAC-SHA256, hex in `Sentry-Hook-Signature`, by the integration's client secret. `Request-ID` and
`Sentry-Hook-Resource` are not signed, so what a delivery is about is read from the body alone. An issue alert has no end of its own:
Sentry tells that its issue was resolved.
"""

import re
from datetime import datetime
from typing import Any, TypeVar

from pydantic import AliasChoices, AliasPath, Field

from devops_mcp.adapters.base import Delivery, Origin, WebhookSource
from devops_mcp.adapters.deliveries import Told, about, json_object, text, told
from devops_mcp.adapters.shapes import FirstLine, Shape, Text, read
from devops_mcp.adapters.signatures import HmacSha256
from devops_mcp.events.model import ActivityRecorded, AlertEvent, Event, IssueChanged
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

SYSTEM = "sentry"
SIGNATURE = HmacSha256("Sentry-Hook-Signature")
ShapeT = TypeVar("ShapeT", bound=Shape)
_ACTION = re.compile(r"[a-z][a-z_]{0,40}")
_PROJECT_OF = re.compile(r"/projects/[^/]+/([^/]+)/")


class _Envelope(Shape):
    action: str
    actor: FirstLine = Field(default="", validation_alias=AliasPath("actor", "name"))
    data: dict[str, Any]


class _Issue(Shape):
    id: str = Field(min_length=1, max_length=100)
    short_id: FirstLine = Field(default="", validation_alias="shortId")
    title: FirstLine
    culprit: Text = ""
    status: FirstLine = ""
    level: FirstLine = ""
    project: FirstLine = Field(default="", validation_alias=AliasPath("project", "slug"))
    url: str | None = Field(default=None, validation_alias=AliasChoices("web_url", "permalink"))
    at: datetime | None = Field(default=None, validation_alias="lastSeen")


class _Occurrence(Shape):
    """One event of an issue, as `error` and `event_alert` send it."""

    issue_id: str = Field(min_length=1, max_length=100)
    title: FirstLine = ""
    culprit: Text = ""
    level: FirstLine = ""
    api_url: Text = Field(default="", validation_alias="url")
    url: str | None = Field(default=None, validation_alias="web_url")
    at: datetime | None = Field(default=None, validation_alias="datetime")


class _MetricAlert(Shape):
    id: str = Field(min_length=1, max_length=100)
    title: FirstLine = ""
    rule: FirstLine = Field(default="", validation_alias=AliasPath("alert_rule", "name"))
    projects: tuple[FirstLine, ...] = ()
    at: datetime | None = Field(
        default=None, validation_alias=AliasChoices("date_closed", "date_started", "date_detected")
    )


class _Comment(Shape):
    body: Text = Field(default="", validation_alias="comment")
    issue_id: int | str = ""
    project: FirstLine = Field(default="", validation_alias="project_slug")
    at: datetime | None = Field(default=None, validation_alias="timestamp")


def delivery_key(delivery: Delivery) -> str | None:
    """The id of the request."""
    return delivery.headers.get("request-id")


def parse(delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """The event. Which it is, what the body holds decides."""
    sent = _shaped(_Envelope, json_object(delivery))
    if not _ACTION.fullmatch(sent.action):
        raise InvalidInput("body.action does not name an action")
    data = sent.data
    if "metric_alert" in data:
        return (_metric_alert(sent, delivery, origin),)
    if "issue" in data:
        return (_issue(sent, delivery, origin),)
    if "triggered_rule" in data and "event" in data:
        return (_issue_alert(sent, delivery, origin),)
    if "error" in data:
        return (_error(sent, delivery, origin),)
    if "comment" in data:
        return (_comment(sent, delivery, origin),)
    return (_other(sent, delivery, origin),)


def _issue(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    issue = _shaped(_Issue, sent.data["issue"])
    number = issue.short_id or issue.id
    subject = issue.project or number
    title = f"{number} {sent.action} in {subject}{about(issue.title)}"
    fields = _told(sent, delivery, origin, subject, title, issue.url, issue.at)
    body = "\n".join(part for part in (issue.title, issue.culprit) if part)
    return IssueChanged(
        **fields, number=number, action=sent.action, state=issue.status or None, body=text(body)
    )


def _issue_alert(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    event = _shaped(_Occurrence, sent.data["event"])
    rule = _shaped(_Rule, sent.data).name
    subject = _project(event)
    fields = _told(
        sent, delivery, origin, subject, f"{rule} fired in {subject}{about(event.title)}", event.url, event.at
    )
    return AlertEvent(
        **fields,
        type="alert.fired",
        name=rule,
        severity=event.level or None,
        fingerprint=f"{rule}:{event.issue_id}",
        labels={"issue_id": event.issue_id},
        summary=text("\n".join(part for part in (event.title, event.culprit) if part)),
    )


class _Rule(Shape):
    name: FirstLine = Field(validation_alias="triggered_rule")


class _Description(Shape):
    title: FirstLine = Field(default="", validation_alias="description_title")
    text: Text = Field(default="", validation_alias="description_text")
    url: str | None = Field(default=None, validation_alias="web_url")


def _metric_alert(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    alert = _shaped(_MetricAlert, sent.data["metric_alert"])
    said = _shaped(_Description, sent.data)
    name = alert.rule or alert.title or f"Metric alert {alert.id}"
    subject = next((project for project in alert.projects if project), name)
    resolved = sent.action == "resolved"
    title = f"{name} {'resolved' if resolved else sent.action} in {subject}{about(said.title)}"
    return AlertEvent(
        **_told(sent, delivery, origin, subject, title, said.url, alert.at),
        type="alert.resolved" if resolved else "alert.fired",
        name=name,
        severity=None if resolved else sent.action,
        fingerprint=f"metric:{alert.id}",
        summary=text(said.text),
    )


def _error(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    error = _shaped(_Occurrence, sent.data["error"])
    subject = _project(error)
    title = f"Error in {subject}{about(error.title)}"
    return ActivityRecorded(
        **_told(sent, delivery, origin, subject, title, error.url, error.at),
        vendor_type="error",
        action=sent.action,
    )


def _comment(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    comment = _shaped(_Comment, sent.data)
    number = str(comment.issue_id) or "?"
    subject = comment.project or number
    title = f"Comment {sent.action} on issue {number} of {subject}"
    return IssueChanged(
        **_told(sent, delivery, origin, subject, title, None, comment.at),
        number=number,
        action=f"comment_{sent.action}",
        body=text(comment.body),
    )


def _other(sent: _Envelope, delivery: Delivery, origin: Origin) -> Event:
    about_what = "installation" if "installation" in sent.data else "other"
    title = f"Sentry: {about_what} {sent.action}"
    return ActivityRecorded(
        **_told(sent, delivery, origin, SYSTEM, title, None, None),
        vendor_type=about_what,
        action=sent.action,
    )


def _told(
    sent: _Envelope,
    delivery: Delivery,
    origin: Origin,
    subject: str,
    title: str,
    url: str | None,
    at: datetime | None,
) -> Told:
    return told(
        SYSTEM, delivery, origin, subject=subject, title=title, url=url, actor=sent.actor or None, at=at
    )


def _project(event: _Occurrence) -> str:
    """The project's slug, which only the address of the event tells."""
    found = _PROJECT_OF.search(event.api_url)
    return found[1] if found else f"issue {event.issue_id}"


def _shaped(shape: type[ShapeT], raw: Any) -> ShapeT:
    try:
        return read(shape, raw)
    except UpstreamInvalid as error:
        raise InvalidInput(f"the body is not that of a Sentry webhook: {error}") from None


WEBHOOKS = WebhookSource(verify=SIGNATURE.verify, delivery_key=delivery_key, parse=parse)

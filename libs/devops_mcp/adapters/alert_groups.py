"""Groups of alerts as Alertmanager sends them, and as Grafana does after its model: one event for each alert of a group.

A group is sent again, as a whole, whenever an alert joins or leaves it. Each alert tells since when it fires, so that one that was told of
before is no event again (`operations.events.event_keys`).
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.deliveries import about, aware, json_object, text, told
from devops_mcp.adapters.shapes import Shape, read
from devops_mcp.events.model import AlertEvent, Event
from devops_mcp.models.errors import InvalidInput, UpstreamInvalid

MAX_ALERTS = 500
MAX_LABELS = 60
MAX_LABEL = 500
_SUBJECTS = ("service", "job", "namespace", "cluster")
"""Labels that say what an alert is about, the most telling first."""
_NEVER = "0001-01-01T"


def _strings(value: Any) -> Any:
    return {} if value is None else value


def _time(value: Any) -> Any:
    return None if isinstance(value, str) and value.startswith(_NEVER) else value


Strings = Annotated[dict[str, str], BeforeValidator(_strings)]


class Alert(Shape):
    status: Literal["firing", "resolved"]
    labels: Strings
    annotations: Strings = Field(default_factory=dict)
    starts_at: Annotated[datetime | None, BeforeValidator(_time)] = Field(validation_alias="startsAt")
    ends_at: Annotated[datetime | None, BeforeValidator(_time)] = Field(
        default=None, validation_alias="endsAt"
    )
    fingerprint: str = Field(min_length=1, max_length=100)
    generator_url: str | None = Field(default=None, validation_alias="generatorURL")
    dashboard_url: str | None = Field(default=None, validation_alias="dashboardURL")


class Group(Shape):
    receiver: str
    group_key: str = Field(validation_alias="groupKey")
    version: str
    alerts: tuple[Alert, ...] = Field(max_length=MAX_ALERTS)


def group_of(delivery: Delivery, version: str) -> Group:
    """The group in a delivery; raises `InvalidInput` for a body that is none, or of another version."""
    body: Mapping[str, Any] = json_object(delivery)
    try:
        group = read(Group, body)
    except UpstreamInvalid as error:
        raise InvalidInput(f"the body is not a group of alerts: {error}") from None
    if group.version != version:
        raise InvalidInput(
            f"the group of alerts is of version {group.version!r}; version {version!r} is read"
        )
    return group


def events_of(system: str, group: Group, delivery: Delivery, origin: Origin) -> tuple[Event, ...]:
    """An event for each alert that fired or was resolved."""
    return tuple(event_of(system, alert, delivery, origin) for alert in group.alerts)


def key_of(group: Group) -> str:
    """What a repetition is told by: the same alerts of the same group, in the same state, since the same time."""
    told_by = [f"{a.fingerprint} {a.status} {a.starts_at}" for a in group.alerts]
    return sha256("\n".join([group.group_key, *sorted(told_by)]).encode()).hexdigest()


def event_of(system: str, alert: Alert, delivery: Delivery, origin: Origin) -> AlertEvent:
    """That an alert fired or was resolved."""
    fired = alert.status == "firing"
    name = alert.labels.get("alertname") or "alert"
    subject = next((alert.labels[label] for label in _SUBJECTS if alert.labels.get(label)), name)
    summary = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    title = f"{name} {'fires' if fired else 'is resolved'} for {subject}{about(summary)}"
    return AlertEvent(
        **told(
            system,
            delivery,
            origin,
            subject=subject,
            title=title,
            url=alert.dashboard_url or alert.generator_url or None,
            at=alert.starts_at if fired else alert.ends_at,
        ),
        type="alert.fired" if fired else "alert.resolved",
        name=name[:MAX_LABEL],
        severity=alert.labels.get("severity"),
        fingerprint=alert.fingerprint,
        started_at=None if alert.starts_at is None else aware(alert.starts_at),
        labels={k[:MAX_LABEL]: text(v)[:MAX_LABEL] for k, v in list(alert.labels.items())[:MAX_LABELS]},
        summary=text(summary),
    )

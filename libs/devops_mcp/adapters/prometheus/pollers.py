"""Prometheus' alerts where no Alertmanager tells us of them: `GET /api/v1/alerts` says what is active now, the difference what happened.

An alert that is not listed any more is taken for resolved at the second look: after a restart Prometheus lists none until it has evaluated
its rules. One that was resolved and fired again between two looks is not told apart from one that went on.
"""

from datetime import datetime, timedelta

import orjson
from pydantic import Field

from devops_mcp.adapters.alert_groups import MAX_LABEL, MAX_LABELS, Alert, event_of
from devops_mcp.adapters.base import Delivery
from devops_mcp.adapters.deliveries import text
from devops_mcp.adapters.polls import Found, Poll, Polled, Poller
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.tools.rules import RawAlert, RawAlerts
from devops_mcp.adapters.shapes import Shape, read

MAX_FOLLOWED = 500
"""Firing alerts at a time; further ones are told of when others are resolved."""
MISSED_WHEN_RESOLVED = 2
_FNV_OFFSET, _FNV_PRIME, _FNV_SIZE = 0xCBF29CE484222325, 0x100000001B3, 2**64
_TOLD = ("summary", "description")


class Followed(Shape):
    """An alert that was firing at the last look, but for the looks that missed it."""

    since: str
    labels: dict[str, str]
    annotations: dict[str, str] = Field(default_factory=dict)
    missed: int = 0


class Cursor(Shape):
    """The alerts that fire, by fingerprint, and how many looks there were."""

    looks: int = 0
    firing: dict[str, Followed] = Field(default_factory=dict)


async def alerts(client: Prometheus, poll: Poll) -> Polled:
    """What began to fire and what was resolved since the last look; at the first, all that fires."""
    raw = read(RawAlerts, (await client.get("alerts")).data)
    now = {fingerprint(alert.labels): alert for alert in raw.alerts if alert.state == "firing"}
    before = read(Cursor, poll.cursor)
    followed: dict[str, Followed] = {}
    found: list[Found] = []
    for known, alert in before.firing.items():
        missed = 0 if known in now else alert.missed + 1
        if missed < MISSED_WHEN_RESOLVED:
            followed[known] = alert.model_copy(update={"missed": missed})
        else:
            found.append(_found(poll, before.looks, known, alert, ends_at=poll.at))
    for new in sorted(now.keys() - followed.keys(), key=lambda name: (now[name].since, name)):
        if len(followed) < MAX_FOLLOWED:
            followed[new] = _followed(now[new])
            found.append(_found(poll, before.looks, new, followed[new]))
    cursor = Cursor(looks=before.looks + 1, firing=followed)
    return Polled(sorted(found, key=lambda one: one.event.occurred_at), cursor.model_dump(mode="json"))


def fingerprint(labels: dict[str, str]) -> str:
    """What Alertmanager calls an alert with these labels: FNV-1a over the sorted names and values, 255 after each.

    Rule: https://pkg.go.dev/github.com/prometheus/common/model#LabelSet.Fingerprint
    """
    digest = _FNV_OFFSET
    for name, value in sorted(labels.items()):
        for byte in (*name.encode(), 255, *value.encode(), 255):
            digest = (digest ^ byte) * _FNV_PRIME % _FNV_SIZE
    return f"{digest:016x}"


def _followed(raw: RawAlert) -> Followed:
    """As it can be kept: an alert that is not would come between all others and their cursor."""
    labels = {
        text(name)[:MAX_LABEL]: text(value)[:MAX_LABEL]
        for name, value in list(raw.labels.items())[:MAX_LABELS]
    }
    annotations = {name: text(raw.annotations[name])[:MAX_LABEL] for name in _TOLD if name in raw.annotations}
    return Followed(since=raw.since, labels=labels, annotations=annotations)


def _found(poll: Poll, look: int, name: str, followed: Followed, *, ends_at: datetime | None = None) -> Found:
    status = "firing" if ends_at is None else "resolved"
    alert = read(
        Alert,
        {
            "status": status,
            "labels": followed.labels,
            "annotations": followed.annotations,
            "startsAt": followed.since or None,
            "endsAt": ends_at,
            "fingerprint": name,
        },
    )
    event = event_of("prometheus", alert, Delivery({}, b"", poll.at), poll.origin)
    payload = orjson.dumps({"status": status, **followed.model_dump(mode="json", exclude={"missed"})})
    return Found(event, f"{name}:{status}:{look}", payload)


POLLERS: tuple[Poller[Prometheus], ...] = (
    Poller(
        "alerts",
        "Alerts that begin to fire or are resolved, for servers without an Alertmanager.",
        timedelta(seconds=30),
        alerts,
    ),
)

"""`prometheus_rules` and `prometheus_alerts`."""

from typing import Literal

from pydantic import BaseModel, Field

from devops_mcp.adapters.base import Listing, ListParams
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.paging import page
from devops_mcp.adapters.prometheus.series import Labels, Number, number
from devops_mcp.adapters.prometheus.tools.arguments import Equal
from devops_mcp.adapters.prometheus.tools.targets import NEVER
from devops_mcp.adapters.shapes import Shape, Text, read

_STATE_RANK = {"firing": 0, "pending": 1, "inactive": 2}


class RuleParams(ListParams):
    type: Literal["alert", "record"] | None = Field(default=None, description="Only these.")
    state: Literal["firing", "pending", "inactive"] | None = Field(
        default=None, description="Only alerting rules in this state."
    )
    name: str | None = Field(
        default=None, max_length=200, description="Text in the rule's name, in any case."
    )
    group: str | None = Field(default=None, max_length=200, description="Only of this group.")


class Rule(BaseModel):
    """`state` and `active` (alerts firing or pending) only of alerting rules. `error` where the last evaluation failed."""

    name: str
    type: Literal["alert", "record"]
    group: str
    query: str
    state: str | None = None
    active: int | None = None
    for_s: float | None = None
    labels: Labels | None = None
    annotations: Labels | None = None
    health: str
    error: str | None = None
    evaluated_at: str | None = None
    evaluation_s: float | None = None
    file: str | None = None


class Rules(Listing[Rule]):
    """Those that fail to evaluate first, then firing, then pending ones."""


class AlertParams(ListParams):
    state: Literal["firing", "pending"] | None = Field(default=None, description="Only these.")
    name: str | None = Field(default=None, max_length=200, description="Only of the rule with this name.")
    labels: Equal = Field(default_factory=dict)


class Alert(BaseModel):
    """`labels` without the alert's name. `value` is what the rule's expression gave."""

    name: str
    state: str
    since: str | None = None
    value: Number
    labels: Labels
    annotations: Labels | None = None


class Alerts(Listing[Alert]):
    """Firing ones first, then by how recently they began."""


class RawAlert(Shape):
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    state: str
    since: Text = Field(default="", validation_alias="activeAt")
    value: str


class RawRule(Shape):
    name: str
    type: str
    query: str
    state: str | None = None
    alerts: list[RawAlert] = Field(default_factory=list)
    duration: float = 0.0
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)
    health: str
    error: Text = Field(default="", validation_alias="lastError")
    evaluated_at: Text = Field(default="", validation_alias="lastEvaluation")
    evaluation_s: float = Field(default=0.0, validation_alias="evaluationTime")


class RawGroup(Shape):
    name: str
    file: Text = ""
    rules: list[RawRule]


class RawGroups(Shape):
    groups: list[RawGroup]


class RawAlerts(Shape):
    alerts: list[RawAlert]


async def rules(client: Prometheus, params: RuleParams) -> Rules:
    """List alerting and recording rules with their expressions and state, failing and firing first. Use to see why an alert fires."""
    raw = read(RawGroups, (await client.get("rules", arguments={"type": params.type})).data)
    found = [_rule(group, rule) for group in raw.groups for rule in group.rules]
    wanted = sorted((rule for rule in found if _is_wanted(rule, params)), key=_rank)
    shown, cursor = page(wanted, params.limit, params.cursor)
    return Rules(items=shown, next_cursor=cursor, total=len(wanted))


async def alerts(client: Prometheus, params: AlertParams) -> Alerts:
    """List alerts that are firing or pending now, with labels, annotations and since when. Silences are Alertmanager's affair."""
    raw = read(RawAlerts, (await client.get("alerts")).data)
    newest_first = sorted(raw.alerts, key=lambda alert: alert.since, reverse=True)
    found = [_alert(alert) for alert in newest_first if params.labels.items() <= alert.labels.items()]
    wanted = [a for a in found if params.state in (None, a.state) and params.name in (None, a.name)]
    wanted.sort(key=lambda alert: _STATE_RANK.get(alert.state, 3))
    shown, cursor = page(wanted, params.limit, params.cursor)
    return Alerts(items=shown, next_cursor=cursor, total=len(wanted))


def _rule(group: RawGroup, raw: RawRule) -> Rule:
    alerting = raw.type == "alerting"
    return Rule(
        name=raw.name,
        type="alert" if alerting else "record",
        group=group.name,
        query=raw.query,
        state=raw.state,
        active=len(raw.alerts) if alerting else None,
        for_s=raw.duration or None,
        labels=raw.labels or None,
        annotations=raw.annotations or None,
        health=raw.health,
        error=raw.error or None,
        evaluated_at=raw.evaluated_at if raw.evaluated_at not in ("", NEVER) else None,
        evaluation_s=round(raw.evaluation_s, 6),
        file=group.file or None,
    )


def _is_wanted(rule: Rule, params: RuleParams) -> bool:
    return (
        params.type in (None, rule.type)
        and params.state in (None, rule.state)
        and params.group in (None, rule.group)
        and (params.name or "").lower() in rule.name.lower()
    )


def _rank(rule: Rule) -> int:
    """A sort by it keeps the order of the files among equals."""
    return -1 if rule.health == "err" else _STATE_RANK.get(rule.state or "", 3)


def _alert(raw: RawAlert) -> Alert:
    labels = dict(raw.labels)
    return Alert(
        name=labels.pop("alertname", ""),
        state=raw.state,
        since=raw.since or None,
        value=number(raw.value),
        labels=labels,
        annotations=raw.annotations or None,
    )

"""Which facts an event tells: a table, one line for each thing that can be so.

The key of a fact is its subject, its predicate and its qualifier; what is told later of the same key takes its place. `{…}` stands for a
field of the event. A repository's name means another thing at another source, so its facts are told apart by it; a service in an
environment is one, whoever deploys it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from devops_mcp.events.model import Event
from devops_mcp.models.base import JsonObject
from devops_mcp.models.facts import NewFact

MAX_KEY = 600
"""Characters of a subject or a qualifier; the rest is cut."""
_ALWAYS = ("title", "url", "actor")
_CHANGES = {
    "change.opened": "open",
    "change.updated": "open",
    "change.merged": "merged",
    "change.closed": "closed",
}


def _always(event: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class FactRule:
    """`value` are the fields that the fact keeps, besides title, address and actor; `more` what is not a field.

    An event of the types `ends` says that nothing is so any more; one that is not `told` says nothing.
    """

    predicate: str
    types: frozenset[str]
    subject: str
    qualifier: str = ""
    value: tuple[str, ...] = ()
    more: Callable[[Any], Mapping[str, Any]] = field(default=lambda event: {})
    ends: frozenset[str] = frozenset()
    told: Callable[[Any], bool] = _always


_SERVICE = "{service}@{environment}"
_DEPLOYMENT = ("service", "environment", "version", "state", "failed")
RULES: tuple[FactRule, ...] = (
    FactRule(
        "deployed",
        frozenset({"deployment.finished"}),
        _SERVICE,
        value=_DEPLOYMENT,
        told=lambda event: not event.failed,
    ),
    FactRule(
        "deployment", frozenset({"deployment.started", "deployment.finished"}), _SERVICE, value=_DEPLOYMENT
    ),
    FactRule(
        "alert",
        frozenset({"alert.fired", "alert.resolved"}),
        "{subject}",
        "{source}:{fingerprint}",
        value=("name", "severity", "summary", "labels"),
        ends=frozenset({"alert.resolved"}),
    ),
    FactRule(
        "build",
        frozenset({"build.started", "build.finished"}),
        "{subject}",
        "{source}:{workflow}@{branch}",
        value=("workflow", "branch", "run_id", "attempt", "commit", "conclusion", "failed"),
        more=lambda event: {"running": event.type == "build.started"},
    ),
    FactRule(
        "change",
        frozenset(_CHANGES),
        "{subject}",
        "{source}:{number}",
        value=("number", "branch", "base", "commit"),
        more=lambda event: {"state": _CHANGES[event.type]},
    ),
    FactRule("head", frozenset({"code.pushed"}), "{subject}", "{source}:{ref}", value=("ref", "commit")),
    FactRule(
        "scan",
        frozenset({"scan.finished"}),
        "{subject}",
        "{source}:{scanner}",
        ("scanner", "status", "failed"),
    ),
    FactRule("release", frozenset({"release.published"}), "{subject}", "{source}", value=("version",)),
    FactRule(
        "issue", frozenset({"issue.changed"}), "{subject}", "{source}:{number}", ("number", "action", "state")
    ),
)
WITHOUT_FACT = frozenset(
    {"activity.recorded", "tool.called", "rule.notified", "agent.registered", "agent.lost", "agent.returned"}
)
"""Events that tell what happened, and of nothing how it is from then on."""


_OF_TYPE: Mapping[str, tuple[FactRule, ...]] = {
    type_: tuple(rule for rule in RULES if type_ in rule.types)
    for type_ in frozenset().union(*(rule.types for rule in RULES))
}


def facts_of(event: Event) -> Iterator[NewFact]:
    """What the event tells, from the time at which it happened."""
    for rule in _OF_TYPE.get(event.type, ()):
        if rule.told(event):
            yield NewFact(
                subject=_filled(rule.subject, event),
                predicate=rule.predicate,
                qualifier=_filled(rule.qualifier, event),
                value=None if event.type in rule.ends else _value(rule, event),
                valid_from=event.occurred_at,
                event_id=event.id,
                event_type=event.type,
                source=event.source,
            )


def _value(rule: FactRule, event: Event) -> JsonObject:
    told: JsonObject = event.model_dump(mode="json", include={*rule.value, *_ALWAYS}, exclude_none=True)
    return {**told, **rule.more(event)}


def _filled(template: str, event: Event) -> str:
    return template.format_map(_Fields(event))[:MAX_KEY]


class _Fields(dict[str, str]):
    """An event's fields as texts; one that is not set is empty."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self._event = event

    def __missing__(self, name: str) -> str:
        value = getattr(self._event, name)
        return "" if value is None else str(value)

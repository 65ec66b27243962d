"""Rules: which events a tenant wants to start something, and what."""

from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, TypeAlias, assert_never
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, StrictBool, StrictFloat, StrictInt, model_validator

from devops_mcp.models.base import JsonObject, Model
from devops_mcp.models.event_paths import Missing, SingularPath, value_at
from devops_mcp.models.tasks import TaskPriority, TaskStatus
from devops_mcp.models.webhooks import EventFilter, Glob

MAX_RULES = 100
"""Of one tenant."""
MAX_LIKE = 1_000
"""Characters of a field that a pattern is held against: every event of a tenant pays for its rules."""
MAX_DEPTH = 5
"""How many rules may lead to one another's events."""
Text: TypeAlias = Annotated[str, Field(max_length=1_000)]
Scalar: TypeAlias = Text | StrictBool | StrictInt | StrictFloat | None


class Operator(StrEnum):
    """How a field is compared. `contains` looks for a part of a text or an item of a list.

    `like` holds the beginning of a text, `MAX_LIKE` characters at most, against a pattern with `*` and `?`.

    `not_equals` holds as well where there is no such field; each other one only where there is.
    """

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    ONE_OF = "one_of"
    CONTAINS = "contains"
    LIKE = "like"
    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    EXISTS = "exists"


class FieldTest(Model):
    """What a field of the event must be. `one_of` has its values in `values`, `exists` none, each other operator one in `value`."""

    path: SingularPath
    operator: Operator = Operator.EQUALS
    value: Scalar = None
    values: tuple[Scalar, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _fits(self) -> "FieldTest":
        if (self.operator is Operator.ONE_OF) != bool(self.values):
            raise ValueError("`values` belong to one_of, which needs some")
        if self.operator is Operator.LIKE and (not isinstance(self.value, str) or len(self.value) > 200):
            raise ValueError("like compares with a pattern of at most 200 characters")
        if self.operator in (Operator.AT_LEAST, Operator.AT_MOST) and not _is_number(self.value):
            raise ValueError(f"{self.operator} compares with a number")
        return self

    def holds(self, document: JsonObject) -> bool:
        try:
            found = value_at(self.path, document)
        except Missing:
            return self.operator is Operator.NOT_EQUALS
        return self._holds_of(found)

    def _holds_of(self, found: JsonValue) -> bool:
        match self.operator:
            case Operator.EQUALS:
                return is_same(found, self.value)
            case Operator.NOT_EQUALS:
                return not is_same(found, self.value)
            case Operator.ONE_OF:
                return any(is_same(found, value) for value in self.values)
            case Operator.CONTAINS:
                return _contains(found, self.value)
            case Operator.LIKE:
                return isinstance(found, str) and fnmatchcase(found[:MAX_LIKE], str(self.value))
            case Operator.AT_LEAST:
                return _is_number(found) and found >= self.value  # type: ignore[operator]
            case Operator.AT_MOST:
                return _is_number(found) and found <= self.value  # type: ignore[operator]
            case Operator.EXISTS:
                return True
            case _:
                assert_never(self.operator)


class Match(EventFilter):
    """Which events are meant: those of these types, systems, integrations and subjects, of which each of `fields` holds."""

    systems: tuple[Glob, ...] = Field(default=(), max_length=50)
    fields: tuple[FieldTest, ...] = Field(default=(), max_length=10)

    def admits_type(self, type_: str) -> bool:
        """Whether events of the type may be meant."""
        return not self.types or any(fnmatchcase(type_, pattern) for pattern in self.types)

    def chooses(self, *, type_: str, system: str, source: str, subject: str) -> bool:
        """Whether an event with these names may be meant; then its fields decide."""
        if self.systems and not any(fnmatchcase(system, pattern) for pattern in self.systems):
            return False
        return self.matches(type_=type_, source=source, subject=subject)

    def holds(self, document: JsonObject) -> bool:
        """Whether each of `fields` holds of the event that this document is."""
        return all(field.holds(document) for field in self.fields)


class ToolAction(Model):
    """Call a tool as a task of the rule's owner.

    In texts of `arguments`, `{{ $.subject }}` stands for that field of the event: alone in a text for the value as it is, among other
    characters for a text or number. `destructive` must be true for a tool that may lose something, since nobody is asked.
    The same call is not made again for `repeat_after_s` seconds: what a call changes often comes back as an event.
    """

    kind: Literal["tool"] = "tool"
    tool: str = Field(min_length=1, max_length=64)
    arguments: JsonObject = Field(default_factory=dict)
    priority: TaskPriority = TaskPriority.NORMAL
    destructive: bool = False
    repeat_after_s: int = Field(default=60, ge=0, le=86_400)


class NotificationAction(Model):
    """Tell the agents that are subscribed to `devops://events/devops-mcp`: an event of our own, `rule.notified`.

    Its texts take placeholders as arguments of tools do. Without a `subject` it has that of the event.
    """

    kind: Literal["notification"] = "notification"
    title: str = Field(min_length=1, max_length=300)
    text: str = Field(default="", max_length=4_000)
    subject: str | None = Field(default=None, min_length=1, max_length=300)


class WebhookAction(Model):
    """Deliver the event to an outgoing webhook of the tenant."""

    kind: Literal["webhook"] = "webhook"
    endpoint_id: UUID


Action: TypeAlias = Annotated[ToolAction | NotificationAction | WebhookAction, Field(discriminator="kind")]


class RunLimit(Model):
    """How often a rule may start its action: `runs` in any `per_s` seconds. What comes beyond is written down and not done."""

    runs: int = Field(default=30, ge=1, le=1_000)
    per_s: int = Field(default=60, ge=1, le=86_400)


class RuleDraft(Model):
    """What is said of a rule."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "tell of failed builds on main",
                    "match": {
                        "types": ["build.finished"],
                        "subjects": ["acme/*"],
                        "fields": [
                            {"path": "$.failed", "value": True},
                            {"path": "$.branch", "operator": "one_of", "values": ["main", "release"]},
                        ],
                    },
                    "action": {"kind": "notification", "title": "{{ $.workflow }} broke {{ $.subject }}"},
                }
            ]
        }
    )

    name: str = Field(min_length=1, max_length=100)
    match: Match
    action: Action
    limit: RunLimit = RunLimit()
    enabled: bool = True


class Rule(RuleDraft):
    """A rule acts for `owner_id`, who wrote or enabled it last, with the rights that its owner has at the time.

    `version` counts what was said of it. Where it was disabled, `disabled_reason` says why.
    """

    model_config = ConfigDict(json_schema_extra=None)

    id: UUID
    version: int
    owner_id: UUID
    disabled_reason: str | None = None
    created_at: datetime
    updated_at: datetime


class RulesWanted(Model):
    """Which rules to list: those whose name holds `name`, that are enabled or not, of one owner, and with one kind of action."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    enabled: bool | None = None
    owner_id: UUID | None = None
    action: Literal["tool", "notification", "webhook"] | None = None


class RunOutcome(StrEnum):
    """`STARTED`: its task is under way. `DONE`: the action was done; a task's tool may have answered with an error of its own, then
    `FAILED`. `SUPPRESSED`: held back by a limit, or since the rule had brought the event about itself.
    """

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


class RuleRun(Model):
    """What a rule made of one event. `task_id` is the call that it started, `sent_id` the notification or delivery.

    `task_status` is how that task stands, for the day that it is kept. `reason` says why it failed or was held back.
    """

    id: UUID
    rule_id: UUID
    version: int
    event_id: UUID
    outcome: RunOutcome
    reason: str | None = None
    task_id: UUID | None = None
    sent_id: UUID | None = None
    at: datetime
    ended_at: datetime | None = None
    task_status: TaskStatus | None = None


def is_same(one: JsonValue, other: JsonValue) -> bool:
    """Equality as JSON has it: true is not 1, and 1 is 1.0."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _contains(found: JsonValue, part: JsonValue) -> bool:
    if isinstance(found, str):
        return isinstance(part, str) and part in found
    return isinstance(found, list) and any(is_same(item, part) for item in found)

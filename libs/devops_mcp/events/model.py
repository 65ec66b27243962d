"""The closed union of events that every DevOps system's payloads are translated to.

The worker and everything behind it know these types and no vendor. Add one here, and the type checker names each `match` that lacks it.
"""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args
from uuid import UUID

from pydantic import Field, TypeAdapter
from pydantic.json_schema import SkipJsonSchema

from devops_mcp.models.base import Model


class _Event(Model):
    """What every event tells.

    `system` is the adapter's name and `source` the integration's; `subject` is what subscribers choose by: `acme/shop` for a
    repository, a service or job name for an alert. `title` is one line for a person. `actor` is the vendor's login.
    `identity` is what the vendor itself tells this by, where it does: heard of twice, by webhook and by poll, it is one event. Only
    intake knows it.
    """

    id: UUID
    tenant_id: UUID
    system: str
    source: str
    subject: str
    title: str
    url: str | None = None
    actor: str | None = None
    occurred_at: datetime
    identity: SkipJsonSchema[str | None] = Field(default=None, exclude=True, repr=False)


class ChangeEvent(_Event):
    """A pull or merge request was opened, changed, merged, or closed without merging."""

    type: Literal["change.opened", "change.updated", "change.merged", "change.closed"]
    number: int
    branch: str
    base: str
    commit: str
    body: str = ""


class CodePushed(_Event):
    """Commits reached a branch or tag. `messages` are the commits' first lines, oldest first."""

    type: Literal["code.pushed"] = "code.pushed"
    ref: str
    commit: str
    messages: tuple[str, ...] = ()


class BuildEvent(_Event):
    """A run of a pipeline started or finished. `conclusion` is the vendor's word, None while it runs."""

    type: Literal["build.started", "build.finished"]
    workflow: str
    run_id: str
    attempt: int = 1
    branch: str | None = None
    commit: str | None = None
    conclusion: str | None = None
    failed: bool = False
    duration_s: float | None = None


class DeploymentEvent(_Event):
    """A deployment started or ended. `state` is the vendor's word."""

    type: Literal["deployment.started", "deployment.finished"]
    service: str
    environment: str
    version: str | None = None
    state: str
    failed: bool = False


class AlertEvent(_Event):
    """An alert began to fire or was resolved. `fingerprint` is the same for both, and so is `started_at`: since when it fires.

    Where a system tells `started_at`, each of the two is one event, however often the system repeats it.
    """

    type: Literal["alert.fired", "alert.resolved"]
    name: str
    severity: str | None = None
    fingerprint: str
    started_at: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    summary: str = ""


class ScanFinished(_Event):
    """A quality or security scan ended."""

    type: Literal["scan.finished"] = "scan.finished"
    scanner: str
    status: str
    failed: bool = False
    findings: tuple[str, ...] = ()


class IssueChanged(_Event):
    """An issue, incident or ticket was opened, edited, commented on or closed. `action` is the vendor's word."""

    type: Literal["issue.changed"] = "issue.changed"
    number: str
    action: str
    state: str | None = None
    body: str = ""


class ReleasePublished(_Event):
    type: Literal["release.published"] = "release.published"
    version: str
    body: str = ""


class ActivityRecorded(_Event):
    """Anything else that a system told us; `vendor_type` is its own name for it."""

    type: Literal["activity.recorded"] = "activity.recorded"
    vendor_type: str
    action: str | None = None


class ToolCalled(_Event):
    """Somebody called a tool of a system through us. `subject` is the tool's name, `actor` the caller's; `error_code` is why it failed.

    Arguments and results are not in it: what one may see, another who hears of it may not. `rules` led to the call where no caller did, one
    after the other.
    """

    type: Literal["tool.called"] = "tool.called"
    tool_system: str
    effect: Literal["read", "write", "destructive"]
    failed: bool = False
    error_code: str | None = None
    duration_ms: float
    rules: tuple[UUID, ...] = ()


class RuleNotified(_Event):
    """A rule of the tenant tells of an event, `about`. `rules` led to it one after the other, `rule_id` the last."""

    type: Literal["rule.notified"] = "rule.notified"
    rule_id: UUID
    rule: str
    about: UUID
    text: str = ""
    rules: tuple[UUID, ...] = ()


class AgentEvent(_Event):
    """An agent registered, sent no heartbeat for too long, or is back after that. `subject` is its name."""

    type: Literal["agent.registered", "agent.lost", "agent.returned"]
    agent_id: UUID
    capabilities: tuple[str, ...] = ()


Event: TypeAlias = Annotated[
    ChangeEvent
    | CodePushed
    | BuildEvent
    | DeploymentEvent
    | AlertEvent
    | ScanFinished
    | IssueChanged
    | ReleasePublished
    | ActivityRecorded
    | ToolCalled
    | RuleNotified
    | AgentEvent,
    Field(discriminator="type"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""The codec: `EVENT.validate_json(raw)`, `EVENT.dump_json(event)`."""

TYPES: tuple[str, ...] = tuple(
    sorted(
        type_
        for kind in get_args(get_args(Event)[0])
        for type_ in get_args(kind.model_fields["type"].annotation)
    )
)
"""Every type that an event can have."""

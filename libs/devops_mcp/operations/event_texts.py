"""What an event says, in words: the text it is found by.

The same event always gives the same text. The title is not in it, because it is indexed beside it. The text repeats in plain words what
fields say by their names, because people ask in their own: "the build that broke on main", "what went out to production".
"""

from collections.abc import Iterable
from typing import assert_never

from devops_mcp.events.model import (
    ActivityRecorded,
    AgentEvent,
    AlertEvent,
    BuildEvent,
    ChangeEvent,
    CodePushed,
    DeploymentEvent,
    Event,
    IssueChanged,
    ReleasePublished,
    RuleNotified,
    ScanFinished,
    ToolCalled,
)

_SHORT_COMMIT = 12


def event_text(event: Event) -> str:
    """Sentences about the event: first what happened, then its details, last where it comes from.

    Not its type: `change` in it would be a word of every change, and of every issue that changed.
    """
    return "\n".join(line for line in (*_lines(event), _origin(event)) if line)


def _lines(event: Event) -> Iterable[str]:
    match event:
        case ChangeEvent():
            return _change(event)
        case CodePushed():
            return _push(event)
        case BuildEvent():
            return _build(event)
        case DeploymentEvent():
            return _deployment(event)
        case AlertEvent():
            return _alert(event)
        case ScanFinished():
            return _scan(event)
        case IssueChanged():
            return _issue(event)
        case ReleasePublished():
            return (f"Release {event.version} of {event.subject} was published.", event.body)
        case ActivityRecorded():
            action = f" ({event.action})" if event.action else ""
            return (f"Activity {event.vendor_type}{action} on {event.subject}.",)
        case ToolCalled():
            return _call(event)
        case RuleNotified():
            return (f"The rule {event.rule} tells of {event.subject}.", event.text)
        case AgentEvent():
            return _agent(event)
        case _:
            assert_never(event)


def is_worth_finding(event: Event) -> bool:
    """Whether a search should know of it. Who only looked would bury what was done."""
    return not (isinstance(event, ToolCalled) and event.effect == "read")


def _call(event: ToolCalled) -> Iterable[str]:
    ended = f"failed: {event.error_code}" if event.failed else "succeeded"
    return (
        f"{event.actor} called {event.subject} of {event.tool_system}, a tool that changes something. It {ended}.",
    )


def _agent(event: AgentEvent) -> Iterable[str]:
    happened = {
        "agent.registered": "registered",
        "agent.lost": "is lost: it has sent no heartbeat for too long",
        "agent.returned": "is back: it sends heartbeats again",
    }[event.type]
    yield f"The agent {event.subject} {happened}."
    if event.capabilities:
        yield f"It can do {', '.join(event.capabilities)}."


def _change(event: ChangeEvent) -> Iterable[str]:
    happened = {
        "change.opened": "was opened",
        "change.updated": "was updated",
        "change.merged": "was merged",
        "change.closed": "was closed without merging",
    }[event.type]
    yield f"Pull request (merge request) {event.number} of {event.subject} {happened}."
    yield f"From branch {event.branch} into {event.base}, commit {event.commit[:_SHORT_COMMIT]}."
    yield event.body


def _push(event: CodePushed) -> Iterable[str]:
    yield f"Commits were pushed to {event.ref} of {event.subject}, now at {event.commit[:_SHORT_COMMIT]}."
    yield from event.messages


def _build(event: BuildEvent) -> Iterable[str]:
    yield f"The build (workflow run, pipeline, CI) {event.workflow} of {event.subject} {_build_outcome(event)}."
    where = [f"on branch {event.branch}"] if event.branch else []
    where += [f"commit {event.commit[:_SHORT_COMMIT]}"] if event.commit else []
    yield f"Run {event.run_id}, attempt {event.attempt}{''.join(f', {part}' for part in where)}."
    if event.duration_s is not None:
        yield f"It took {event.duration_s:.0f} seconds."


def _build_outcome(event: BuildEvent) -> str:
    if event.type == "build.started":
        return "started"
    conclusion = f" with conclusion {event.conclusion}" if event.conclusion else ""
    return f"failed: it broke{conclusion}" if event.failed else f"finished{conclusion}"


def _deployment(event: DeploymentEvent) -> Iterable[str]:
    version = f" version {event.version}" if event.version else ""
    outcome = "started" if event.type == "deployment.started" else "failed" if event.failed else "finished"
    yield f"Deployment (rollout, release) of {event.service}{version} to {event.environment} {outcome}, state {event.state}."


def _alert(event: AlertEvent) -> Iterable[str]:
    happened = "is firing" if event.type == "alert.fired" else "was resolved"
    severity = f" with severity {event.severity}" if event.severity else ""
    yield f"Alert {event.name}{severity} {happened} for {event.subject}."
    yield event.summary
    yield ", ".join(f"{name} {value}" for name, value in sorted(event.labels.items()))


def _scan(event: ScanFinished) -> Iterable[str]:
    outcome = "failed" if event.failed else "passed"
    yield f"Scan by {event.scanner} of {event.subject} {outcome}, status {event.status}."
    yield from event.findings


def _issue(event: IssueChanged) -> Iterable[str]:
    state = f", now {event.state}" if event.state else ""
    yield f"Issue (incident, ticket) {event.number} of {event.subject} was {event.action}{state}."
    yield event.body


def _origin(event: Event) -> str:
    actor = f" by {event.actor}" if event.actor else ""
    return f"{event.system} ({event.source}), {event.subject}{actor}."

"""GitHub's webhooks against its own recorded payloads (npm @octokit/webhooks-examples 7.6.1: 329 of 58 events) and its description."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.github.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.adapters.github.webhooks.forms import FORMS
from devops_mcp.adapters.github.webhooks.phrases import PHRASES
from devops_mcp.events.model import EVENT, AlertEvent, BuildEvent, ChangeEvent, DeploymentEvent, Event
from devops_mcp.models.errors import InvalidInput
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.github_openapi import webhook_actions, webhook_required
from support.node import webhook_examples

SECRET = "it's a secret to everybody"
ORIGIN = Origin(DEFAULT_TENANT_ID, "github-prod")
EVENTS = sorted(webhook_examples())
EXAMPLES = [
    pytest.param(name, body, id=f"{name}-{number}")
    for name in EVENTS
    for number, body in enumerate(webhook_examples()[name])
]


def delivered(event: str, body: dict[str, Any], secret: str = SECRET) -> Delivery:
    raw = json.dumps(body).encode()
    headers = {
        "content-type": "application/json",
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "x-hub-signature-256": SIGNATURE.sign(raw, secret),
    }
    return Delivery(headers, raw, datetime(2026, 11, 1, 12, tzinfo=UTC))


def test_the_recorded_payloads_are_all_there() -> None:
    assert len(EVENTS) == 58
    assert len(EXAMPLES) == 329
    assert set(EVENTS) <= set(FORMS)


@pytest.mark.parametrize(("event", "body"), EXAMPLES)
def test_a_recorded_payload_verifies_and_becomes_one_event(event: str, body: dict[str, Any]) -> None:
    delivery = delivered(event, body)

    WEBHOOKS.verify(delivery, (SecretStr("an older one"), SecretStr(SECRET)))
    events = WEBHOOKS.parse(delivery, ORIGIN)

    assert len(events) == (0 if event == "ping" else 1)
    for parsed in events:
        kept = parsed.model_copy(update={"identity": None})
        assert EVENT.validate_json(EVENT.dump_json(parsed)) == kept
        assert parsed.system == "github"
        assert parsed.source == "github-prod"
        assert len(parsed.title) > len("Star created on a")
        assert parsed.title.isprintable()
        assert "None" not in parsed.title
        assert (
            parsed.subject in (parsed.title, body.get("repository", {}).get("full_name"))
            or parsed.subject in parsed.title
        )
        assert parsed.occurred_at.tzinfo is not None


@pytest.mark.parametrize("claimed", sorted(FORMS))
def test_a_signed_body_is_never_taken_for_another_event(claimed: str) -> None:
    """W04, every payload under every other name: the name is not signed."""
    taken = [
        name
        for name, examples in webhook_examples().items()
        for body in examples
        if name != claimed and _parses(claimed, body)
    ]

    assert taken == []


def _parses(event: str, body: dict[str, Any]) -> bool:
    try:
        WEBHOOKS.parse(delivered(event, body), ORIGIN)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize(
    "event", sorted(set(FORMS) - {"ping"})
)  # of a ping nothing is documented as required
def test_a_form_asks_for_nothing_that_github_may_leave_out(event: str) -> None:
    """Against GitHub's description of each action's payload (npm @octokit/openapi)."""
    documented = webhook_required(event)

    assert documented
    for required in documented:
        assert FORMS[event].needs - required == set()
        assert not FORMS[event].never & required


def test_recorded_payloads_become_events_of_every_kind() -> None:
    kinds: dict[str, set[str]] = {name: set() for name in EVENTS}
    for name, examples in webhook_examples().items():
        for body in examples:
            kinds[name].update(type(e).__name__ for e in WEBHOOKS.parse(delivered(name, body), ORIGIN))

    typed = {name: kind for name, kind in kinds.items() if kind - {"ActivityRecorded"}}
    assert typed == {
        "check_run": {"BuildEvent", "ActivityRecorded"},
        "code_scanning_alert": {"AlertEvent"},
        "dependabot_alert": {"AlertEvent"},
        "deployment": {"DeploymentEvent"},
        "deployment_status": {"DeploymentEvent"},
        "issue_comment": {"IssueChanged"},
        "issues": {"IssueChanged"},
        "pull_request": {"ChangeEvent"},
        "push": {"CodePushed", "ActivityRecorded"},
        "release": {"ReleasePublished", "ActivityRecorded"},
        "repository_vulnerability_alert": {"AlertEvent"},
        "status": {"BuildEvent"},
        "workflow_run": {"BuildEvent"},
    }


def first(event: str, **wanted: Any) -> Event:
    """The event made of the first recorded payload with these top-level values."""
    body = next(b for b in webhook_examples()[event] if all(b.get(k) == v for k, v in wanted.items()))
    return WEBHOOKS.parse(delivered(event, body), ORIGIN)[0]


def test_a_pull_request_that_is_closed_was_merged_or_not() -> None:
    body = next(b for b in webhook_examples()["pull_request"] if b["action"] == "closed")
    merged = body | {
        "pull_request": body["pull_request"] | {"merged": True, "merged_at": "2019-05-15T15:21:00Z"}
    }
    closed = body | {"pull_request": body["pull_request"] | {"merged": False, "merged_at": None}}

    one = WEBHOOKS.parse(delivered("pull_request", merged), ORIGIN)[0]
    other = WEBHOOKS.parse(delivered("pull_request", closed), ORIGIN)[0]

    assert isinstance(one, ChangeEvent)
    assert isinstance(other, ChangeEvent)
    assert (one.type, other.type) == ("change.merged", "change.closed")
    assert (
        one.title
        == "Pull request #2 merged in Codertocat/Hello-World (changes into master): Update the README with new information."
    )


def test_an_alert_fires_and_is_resolved_under_its_number() -> None:
    fired = first("dependabot_alert", action="created")
    resolved = first("dependabot_alert", action="fixed")

    assert isinstance(fired, AlertEvent)
    assert isinstance(resolved, AlertEvent)
    assert (fired.type, resolved.type) == ("alert.fired", "alert.resolved")
    assert fired.fingerprint == "wolfy1339/pika-pack/dependabot/20"
    assert resolved.fingerprint == "octocat/hello-world/dependabot/1"


def test_an_alert_says_what_is_known_of_the_weakness() -> None:
    alert = first("dependabot_alert", action="created")

    assert isinstance(alert, AlertEvent)
    assert alert.title.endswith("semver: semver vulnerable to Regular Expression Denial of Service")
    assert "when untrusted user data is provided as a range" in alert.summary
    assert alert.labels["cve"] == "CVE-2022-25883"


def test_every_phrase_is_for_an_event_and_action_that_github_documents() -> None:
    assert set(PHRASES) - webhook_actions() == set()


@pytest.mark.parametrize(
    ("event", "wanted", "title"),
    [
        ("meta", {"action": "deleted"}, "Webhook deleted on Codertocat/Hello-World by Codertocat"),
        ("gollum", {}, "Wiki page created or updated on Codertocat/Hello-World by rachmari: Home"),
        (
            "milestone",
            {"action": "closed"},
            "Milestone closed on Codertocat/Hello-World by Codertocat: #1 v1.0 closed",
        ),
        (
            "repository_dispatch",
            {"action": "on-demand-test"},
            "Repository dispatch, an activity from outside GitHub, on-demand-test on octo-org/octo-repo by Codertocat",
        ),
    ],
)
def test_an_activity_says_in_words_what_github_names(event: str, wanted: dict[str, str], title: str) -> None:
    assert first(event, **wanted).title == title


def test_checks_of_other_systems_are_builds_and_those_of_actions_are_not_told_twice() -> None:
    body = next(b for b in webhook_examples()["check_run"] if b["action"] == "completed")

    events = [
        WEBHOOKS.parse(delivered("check_run", _by(app, body)), ORIGIN)[0]
        for app in ("linter", "github-actions")
    ]

    assert [event.type for event in events] == ["build.finished", "activity.recorded"]
    assert isinstance(events[0], BuildEvent)
    assert events[0].failed == (body["check_run"]["conclusion"] == "failure")


def _by(app: str, body: dict[str, Any]) -> dict[str, Any]:
    """A check run of another app."""
    run = body["check_run"]
    return body | {"check_run": run | {"app": run["app"] | {"slug": app}}}


def test_a_deployment_status_says_whether_it_went_well() -> None:
    body = webhook_examples()["deployment_status"][0]
    failed = body | {"deployment_status": body["deployment_status"] | {"state": "failure"}}

    event = WEBHOOKS.parse(delivered("deployment_status", failed), ORIGIN)[0]

    assert isinstance(event, DeploymentEvent)
    assert (event.type, event.failed, event.environment) == ("deployment.finished", True, "production")
    assert event.title == "Deployment of Codertocat/Hello-World at master to production failed"

"""Which facts events tell."""

from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from devops_mcp.events.model import EVENT, Event
from devops_mcp.models.ids import new_id
from devops_mcp.operations.fact_rules import RULES, WITHOUT_FACT, facts_of

AT = datetime(2026, 11, 1, 10, tzinfo=UTC)
COMMON: dict[str, Any] = {
    "id": new_id(),
    "tenant_id": new_id(),
    "system": "github",
    "source": "github-prod",
    "subject": "acme/shop",
    "title": "The title",
    "occurred_at": AT,
}
DEPLOYMENT = {"service": "checkout", "environment": "production", "version": "4.2", "state": "success"}
ALERT = {"name": "HighLatency", "fingerprint": "f1", "severity": "page"}
CHANGE = {"number": 7, "branch": "fix", "base": "main", "commit": "0123"}


def told(**fields) -> dict[tuple[str, str, str], Any]:
    event = EVENT.validate_python({**COMMON, **fields})
    return {(fact.subject, fact.predicate, fact.qualifier): fact.value for fact in facts_of(event)}


def test_every_type_of_event_has_a_rule_or_is_listed_as_telling_none():
    union = get_args(get_args(Event)[0])
    types = {type_ for model in union for type_ in get_args(model.model_fields["type"].annotation)}
    ruled = {type_ for rule in RULES for type_ in rule.types}
    assert ruled | WITHOUT_FACT == types
    assert not ruled & WITHOUT_FACT


def test_a_deployment_is_of_its_service_and_environment_whoever_told_it():
    facts = told(type="deployment.finished", **DEPLOYMENT)
    other = told(type="deployment.finished", **DEPLOYMENT, source="harness-prod", subject="other")
    assert (
        facts.keys()
        == other.keys()
        == {
            ("checkout@production", "deployed", ""),
            ("checkout@production", "deployment", ""),
        }
    )
    assert facts["checkout@production", "deployed", ""]["version"] == "4.2"


@pytest.mark.parametrize(
    "fields", [{"type": "deployment.started"}, {"type": "deployment.finished", "failed": True}]
)
def test_what_is_under_way_or_failed_is_not_deployed(fields):
    assert told(**DEPLOYMENT, **fields).keys() == {("checkout@production", "deployment", "")}


def test_an_alert_is_so_until_it_is_resolved():
    key = ("acme/shop", "alert", "github-prod:f1")
    assert told(type="alert.fired", **ALERT)[key]["severity"] == "page"
    assert told(type="alert.resolved", **ALERT) == {key: None}


@pytest.mark.parametrize(
    ("type_", "state"),
    [
        ("change.opened", "open"),
        ("change.updated", "open"),
        ("change.merged", "merged"),
        ("change.closed", "closed"),
    ],
)
def test_a_change_has_the_state_that_was_told_last(type_, state):
    assert told(type=type_, **CHANGE)["acme/shop", "change", "github-prod:7"]["state"] == state


def test_a_field_that_is_not_set_leaves_its_place_empty():
    facts = told(type="build.finished", workflow="CI", run_id="1")
    assert facts.keys() == {("acme/shop", "build", "github-prod:CI@")}

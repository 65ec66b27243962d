"""Harness's webhooks: those of Code repositories as drone/go-scm keeps them (scm/driver/harness/testdata, by Harness), notifications of
pipelines as Harness documents them (developer.harness.io, notify-users-of-pipeline-events). Cut by whole objects."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.harness.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.events.model import EVENT, BuildEvent, ChangeEvent, CodePushed, Event
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "harness-prod")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))
REPO = "vpCkHKsDSxK9_KYfjCTMKA/default/Repo_With_PR_checks/abhinav-git-sync"
RUN = (
    "https://app.harness.io/ng/#/account/ACCOUNT_ID/cd/orgs/default/projects/PROJECT_NAME/pipelines/PIPELINE_NAME"
    "/executions/PIPELINE_EXECUTION_ID/pipeline"
)
BROKEN = "Shell Script execution failed. Please check execution logs."

EXPECTED = {
    "branch_updated": ("code.pushed", REPO, None, "arrival", f"1 or more commits pushed to master of {REPO}: Create asdsad (#2)", None),
    "branch_deleted": (
        "activity.recorded", "kmpySmUISimoRrJL6NL73w/harness-core", "lv0euRhKRCyiXWzS7pOg6g", "arrival",
        "Branch das deleted in kmpySmUISimoRrJL6NL73w/harness-core", None,
    ),
    "tag_created": (
        "code.pushed", "kmpySmUISimoRrJL6NL73w/harness-core", "lv0euRhKRCyiXWzS7pOg6g", "arrival",
        "Tag asd pushed to kmpySmUISimoRrJL6NL73w/harness-core", None,
    ),
    "pullreq_merged": (
        "change.merged", "codeowners/asdsad", "admin", "arrival",
        "Pull request #10 merged in codeowners/asdsad (xas into main): Create xxasc", None,
    ),
    "pullreq_comment_created": (
        "issue.changed", "asd/demo", "admin", "arrival",
        "Comment created by admin on pull request #2 of asd/demo: Update test.txt", None,
    ),
    "pipeline_start": (
        "build.started", "default/PROJECT_ID", "NAME", "2024-08-20T08:14:46+00:00",
        "Pipeline 'PIPELINE_NAME' started in default/PROJECT_ID", RUN,
    ),
    "pipeline_success": (
        "build.finished", "default/PROJECT_ID", "NAME", "2024-08-20T08:22:53+00:00",
        "Pipeline 'PIPELINE_NAME' succeeded in default/PROJECT_ID", RUN,
    ),
    "pipeline_failed": (
        "build.finished", "default/PROJECT_ID", "NAME", "2024-08-20T08:25:18+00:00",
        f"Pipeline 'PIPELINE_NAME' failed in default/PROJECT_ID: {BROKEN}", RUN,
    ),
    "pipeline_end": (
        "activity.recorded", "default/PROJECT_ID", "NAME", "2024-08-20T08:19:42+00:00",
        "Pipeline end in default/PROJECT_ID by NAME: pipeline 'PIPELINE_NAME'", RUN,
    ),
    "stage_failed": (
        "activity.recorded", "default/PROJECT_ID", "NAME", "2024-08-20T08:28:23+00:00",
        f"Stage failed 'qq' in default/PROJECT_ID by NAME: pipeline 'PIPELINE_NAME' {BROKEN}", RUN,
    ),
}  # fmt: skip
"""Of the event made of each payload: type, subject, actor, time, title and address."""
CODE = [name for name in EXPECTED if not name.startswith(("pipeline_", "stage_"))]


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def signed(body: object, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({"x-harness-signature": SIGNATURE.sign(raw, "s3cret")} | headers, raw, ARRIVED)


def by_token(body: object, token: str = "s3cret") -> Delivery:
    return Delivery({"x-harness-token": token}, json.dumps(body).encode(), ARRIVED)


def parsed(body: object, **headers: str) -> Event:
    [found] = WEBHOOKS.parse(signed(body, **headers), ORIGIN)
    return found


def test_every_recorded_payload_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_payload_verifies_and_becomes_its_event(name: str) -> None:
    type_, subject, actor, time, title, url = EXPECTED[name]
    body = recorded(name)
    given = signed(body, **{"x-harness-trigger": name}) if name in CODE else by_token(body)

    WEBHOOKS.verify(given, SECRETS)
    [event] = WEBHOOKS.parse(given, ORIGIN)

    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert (event.type, event.subject, event.actor) == (type_, subject, actor)
    assert (event.title, event.url) == (title, url)
    assert event.occurred_at == (ARRIVED if time == "arrival" else datetime.fromisoformat(time))
    assert (event.system, event.source) == ("harness", "harness-prod")


def test_newer_servers_tell_all_commits_of_a_push() -> None:
    body = recorded("branch_updated")
    commits = [{"sha": body["sha"], "message": "newer\n"}, {"sha": "a" * 40, "message": "older\n"}]

    event = parsed(body | {"commits": commits, "total_commits_count": 2})

    assert isinstance(event, CodePushed)
    assert event.messages == ("older", "newer")
    assert event.title == f"2 commits pushed to master of {REPO}: newer"


@pytest.mark.parametrize(
    ("trigger", "type_", "happened"),
    [
        ("pullreq_created", "change.opened", "opened"),
        ("pullreq_reopened", "change.opened", "reopened"),
        ("pullreq_closed", "change.closed", "closed"),
        ("pullreq_branch_updated", "change.updated", "got new commits"),
        ("pullreq_reviewer_added", "change.updated", "reviewer added"),
    ],
)
def test_a_pull_request_is_what_the_body_says(trigger: str, type_: str, happened: str) -> None:
    event = parsed(recorded("pullreq_merged") | {"trigger": trigger})

    assert isinstance(event, ChangeEvent)
    assert event.type == type_
    assert event.title.startswith(f"Pull request #10 {happened} in codeowners/asdsad")
    assert (event.commit, event.branch) == ("4ec41187008f77222a60dfa21cdbd980f6490443", "xas")


def test_a_run_of_a_pipeline_tells_how_long_it_took_and_whether_it_failed() -> None:
    failed, started = parsed(recorded("pipeline_failed")), parsed(recorded("pipeline_start"))

    assert isinstance(failed, BuildEvent)
    assert (failed.failed, failed.conclusion, failed.duration_s) == (True, "failed", 14.0)
    assert (failed.run_id, failed.workflow) == ("PIPELINE_EXECUTION_ID", "PIPELINE_NAME")
    assert isinstance(started, BuildEvent)
    assert (started.failed, started.conclusion, started.duration_s) == (False, None, None)


@pytest.mark.parametrize("header", ["x-harness-trigger", "x-gitness-trigger"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_body_is_never_taken_for_another_event(name: str, header: str) -> None:
    """W04: the header is not signed."""
    with pytest.raises(InvalidInput):
        parsed(recorded(name), **{header: "pullreq_created"})


def test_a_push_that_created_is_none_that_deleted() -> None:
    """W04."""
    for name, trigger in (("branch_deleted", "branch_created"), ("tag_created", "tag_deleted")):
        with pytest.raises(InvalidInput, match="does not fit"):
            parsed(recorded(name) | {"trigger": trigger})


def test_what_has_no_type_of_its_own_is_recorded() -> None:
    body = recorded("branch_updated") | {"trigger": "merge_queue_checks_requested"}

    assert parsed(body).title == f"Merge queue checks requested in {REPO}: refs/heads/master"


def test_a_forged_delivery_is_refused() -> None:
    given = signed(recorded("branch_updated"))

    for forged in (
        Delivery(given.headers, given.body + b" ", ARRIVED),
        Delivery({"x-harness-signature": "0" * 64}, given.body, ARRIVED),
        Delivery({}, given.body, ARRIVED),
        by_token(recorded("pipeline_failed"), "another"),
        by_token(recorded("pipeline_failed"), ""),
    ):
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(forged, SECRETS)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"trigger": 1}', b'{"trigger": "../x"}', b'{"trigger": "branch_updated"}', b'{"eventData": []}',
        b'{"eventData": {"eventType": "x y"}}', b'{"eventData": {"eventType": "PipelineFailed"}}', b"[" * 100_000, b'{"a": NaN}',
    ],
)  # fmt: skip
def test_an_unexpected_body_is_refused(body: bytes) -> None:
    """H05: never a 500."""
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(signed(body), ORIGIN)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_field_of_another_type_breaks_the_translation(name: str) -> None:
    """Each field in turn becomes something else; the body is read without it, or refused."""
    for mutated in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(signed(mutated), ORIGIN)
        except InvalidInput:
            continue
        assert all(EVENT.dump_json(event) for event in events)


def test_a_repetition_is_told_by_its_body() -> None:
    assert WEBHOOKS.delivery_key(signed({}, **{"x-harness-delivery": "1"})) is None
    assert WEBHOOKS.signed_key is False

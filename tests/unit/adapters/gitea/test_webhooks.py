"""Gitea's webhooks, on payloads that it sent (go-playground/webhooks, testdata/gitea), cut by whole objects. Those of its Actions and of
commit statuses are of our own in the shape of its source (modules/structs/hook.go)."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.gitea.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.adapters.gitea_forms import FORMS
from devops_mcp.events.model import (
    EVENT,
    BuildEvent,
    ChangeEvent,
    CodePushed,
    Event,
    IssueChanged,
    ReleasePublished,
)
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "gitea-prod")
REPO = {"full_name": "acme/shop", "html_url": "https://git.example.com/acme/shop"}
LOCAL = "http://localhost:3000/example/example"

EXPECTED = {
    "push": (
        "code.pushed", "example", "arrival", "1 commit pushed to master of example/example: example",
        f"{LOCAL}/compare/{'0' * 40}...67b56589a45103f891bdee7c0546e5d40bc02001",
    ),
    "delete": ("activity.recorded", "example", "arrival", "Branch example3 deleted in example/example", LOCAL),
    "issues": (
        "issue.changed", "example", "2022-03-09T16:19:00+09:00",
        "Issue #1 opened in example/example: example", f"{LOCAL}/issues/1",
    ),
    "issue_comment": (
        "issue.changed", "example", "2022-03-09T16:20:44+09:00",
        "Comment created by example on issue #1 of example/example: example", f"{LOCAL}/issues/1#issuecomment-2",
    ),
    "pull_request": (
        "change.opened", "example2", "2022-03-09T16:31:06+09:00",
        "Pull request #2 opened in example/example (master into master): update", f"{LOCAL}/pulls/2",
    ),
    "pull_request_comment": (
        "change.updated", "example", "2022-03-09T16:36:51+09:00",
        "Pull request #2 reviewed in example/example (master into master): update", f"{LOCAL}/pulls/2",
    ),
    "release": (
        "release.published", "example", "2022-03-09T16:25:04+09:00",
        "Release example of example/example published: 0.0.0", f"{LOCAL}/releases/tag/example",
    ),
}  # fmt: skip
"""Of the event made of each payload: type, actor, time, title and address."""


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def delivery(event: str, body: object, secret: str = "s3cret") -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {
        "x-gitea-event": event,
        "x-gitea-delivery": "f6266f16-1bf3-46a5-9ea4-602e06ead473",
        "x-gitea-signature": SIGNATURE.sign(raw, secret),
    }
    return Delivery(headers, raw, ARRIVED)


def parsed(event: str, body: object) -> Event:
    [found] = WEBHOOKS.parse(delivery(event, body), ORIGIN)
    return found


def changed_pull(action: str, **changes: Any) -> dict[str, Any]:
    body = recorded("pull_request")
    return body | {"action": action, "pull_request": body["pull_request"] | changes}


def test_every_recorded_payload_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_payload_verifies_and_becomes_its_event(name: str) -> None:
    type_, actor, time, title, url = EXPECTED[name]
    given = delivery(name, recorded(name))

    WEBHOOKS.verify(given, (SecretStr("an older one"), SecretStr("s3cret")))
    [event] = WEBHOOKS.parse(given, ORIGIN)

    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert (event.type, event.subject, event.actor) == (type_, "example/example", actor)
    assert (event.title, event.url) == (title, url)
    assert event.occurred_at == (ARRIVED if time == "arrival" else datetime.fromisoformat(time))
    assert (event.system, event.source) == ("gitea", "gitea-prod")


def test_what_a_push_brought_is_told_oldest_first() -> None:
    commits = [{"id": "b" * 40, "message": "newer\n"}, {"id": "a" * 40, "message": "older\n"}]
    body = recorded("push") | {"after": "b" * 40, "commits": commits, "total_commits": 2}

    event = parsed("push", body)

    assert isinstance(event, CodePushed)
    assert event.messages == ("older", "newer")
    assert event.title == "2 commits pushed to master of example/example: newer"


@pytest.mark.parametrize(
    ("body", "type_", "happened"),
    [
        (changed_pull("closed", merged=True, merged_at="2022-03-10T00:00:00Z"), "change.merged", "merged"),
        (changed_pull("closed"), "change.closed", "closed"),
        (changed_pull("reopened"), "change.opened", "reopened"),
        (changed_pull("synchronized"), "change.updated", "got new commits"),
        (changed_pull("label_updated"), "change.updated", "label updated"),
    ],
)
def test_a_pull_request_was_opened_changed_merged_or_closed(
    body: dict[str, Any], type_: str, happened: str
) -> None:
    event = parsed("pull_request", body)

    assert isinstance(event, ChangeEvent)
    assert event.type == type_
    assert event.title.startswith(f"Pull request #2 {happened} in example/example")
    assert event.commit == "48e773f892a831faa47c0a160d1b7f0cd369ae2a"


@pytest.mark.parametrize(
    ("event", "type_", "happened"),
    [
        ("pull_request_approved", "pull_request_review_approved", "approved"),
        ("pull_request_review_approved", "pull_request_review_approved", "approved"),
        ("pull_request_rejected", "pull_request_review_rejected", "rejected"),
    ],
)
def test_a_review_says_how_it_went(event: str, type_: str, happened: str) -> None:
    body = recorded("pull_request_comment") | {"review": {"type": type_, "content": "Fine"}}

    found = parsed(event, body)

    assert isinstance(found, ChangeEvent)
    assert found.title.startswith(f"Pull request #2 {happened} in")
    assert found.body == "Fine"


def test_a_comment_on_a_pull_request_is_told_as_such() -> None:
    event = parsed("issue_comment", recorded("issue_comment") | {"is_pull": True})

    assert isinstance(event, IssueChanged)
    assert "on pull request #1 of" in event.title
    assert (event.number, event.action, event.body) == ("1", "comment_created", "example")


def test_only_a_published_release_is_one() -> None:
    assert isinstance(parsed("release", recorded("release")), ReleasePublished)
    assert parsed("release", recorded("release") | {"action": "updated"}).type == "activity.recorded"


def test_a_workflow_run_that_ended_is_a_build() -> None:
    run = {
        "id": 12,
        "display_title": "Charge the card once",
        "path": "ci.yml@refs/heads/main",
        "head_branch": "main",
        "head_sha": "a" * 40,
        "run_attempt": 2,
        "status": "completed",
        "conclusion": "failure",
        "html_url": "https://git.example.com/acme/shop/actions/runs/3",
        "started_at": "2026-11-01T10:00:00Z",
        "completed_at": "2026-11-01T10:03:20Z",
    }
    body = {"action": "completed", "workflow_run": run, "repository": REPO, "sender": {"login": "mona"}}

    ended = parsed("workflow_run", body)
    started = parsed("workflow_run", body | {"action": "requested"})

    assert isinstance(ended, BuildEvent)
    assert ended.title == "Build 'ci.yml' failed on main of acme/shop (attempt 2): Charge the card once"
    assert (ended.type, ended.failed, ended.duration_s) == ("build.finished", True, 200.0)
    assert isinstance(started, BuildEvent)
    assert (started.type, started.failed, started.conclusion) == ("build.started", False, None)


@pytest.mark.parametrize(
    ("state", "type_", "failed"),
    [("pending", "build.started", False), ("success", "build.finished", False), ("error", "build.finished", True)],
)  # fmt: skip
def test_a_commit_status_is_a_build(state: str, type_: str, failed: bool) -> None:
    body = {"id": 5, "sha": "a" * 40, "state": state, "context": "ci/drone", "repository": REPO}

    event = parsed("status", body)

    assert isinstance(event, BuildEvent)
    assert (event.type, event.failed, event.workflow) == (type_, failed, "ci/drone")


def test_what_has_no_type_of_its_own_is_recorded() -> None:
    wiki = {
        "action": "edited",
        "page": "Home",
        "comment": "",
        "repository": REPO,
        "sender": {"login": "mona"},
    }

    assert parsed("wiki", wiki).title == "Wiki edited in acme/shop by mona: Home"
    assert parsed("something_new", {"repository": REPO}).type == "activity.recorded"


@pytest.mark.parametrize("claimed", sorted(FORMS))
def test_a_signed_body_is_never_taken_for_another_event(claimed: str) -> None:
    """W04: the name is not signed."""
    for name in EXPECTED:
        if name != claimed:
            with pytest.raises(InvalidInput, match=f"not that of a '{claimed}' event"):
                parsed(claimed, recorded(name))


def test_a_forged_delivery_is_refused() -> None:
    for secrets in ((SecretStr("another"),), (SecretStr(""),), ()):
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(delivery("push", recorded("push")), secrets)


@pytest.mark.parametrize("event", ["", "push,push", "Push", "../push", "push\n", "x" * 61])
def test_a_delivery_must_name_one_event(event: str) -> None:
    with pytest.raises(InvalidInput, match="x-gitea-event"):
        parsed(event, recorded("push"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 100_000]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    """H05: never a 500."""
    with pytest.raises(InvalidInput):
        parsed("push", body)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_field_of_another_type_breaks_the_translation(name: str) -> None:
    """Each field in turn becomes something else; the body is read without it, or refused."""
    for mutated in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivery(name, mutated), ORIGIN)
        except InvalidInput:
            continue
        assert all(EVENT.dump_json(event) for event in events)


def test_the_delivery_is_told_by_its_id_which_is_not_signed() -> None:
    assert WEBHOOKS.delivery_key(delivery("push", {})) == "f6266f16-1bf3-46a5-9ea4-602e06ead473"
    assert WEBHOOKS.delivery_key(Delivery({}, b"{}", ARRIVED)) is None
    assert WEBHOOKS.delivery_key(Delivery({"x-gitea-delivery": "a,b"}, b"{}", ARRIVED)) is None
    assert WEBHOOKS.signed_key is False

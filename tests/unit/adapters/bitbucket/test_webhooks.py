"""Bitbucket's webhooks. Cloud's payloads are the examples of its documentation and Data Center's were sent by a server, both as
go-playground/webhooks keeps them (testdata/bitbucket, testdata/bitbucket-server); the status of a pipeline was sent by Cloud (drone/go-scm,
scm/driver/bitbucket/testdata). Cut by whole objects, and of the states that Cloud's documentation lists the one of the event."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.bitbucket.webhooks import SIGNATURE, WEBHOOKS
from devops_mcp.adapters.bitbucket.webhooks.cloud_forms import FORMS
from devops_mcp.events.model import EVENT, BuildEvent, ChangeEvent, CodePushed, Event
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations
from support.recorded_webhooks import headers_of

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "bitbucket-prod")
COMPARED = "https://bitbucket.org/user_name/repo_name/branches/compare"
REPOS = "https://server.bitbucket.local/users/gopher/repos/webhook-test"

EXPECTED = {
    "repo_push": (
        "code.pushed", "team_name/repo_name", "emmap1", "arrival",
        "1 commit pushed to name-of-branch of team_name/repo_name: commit message",
        f"{COMPARED}/c4b2b7914156a878aa7c9da452a09fb50c2091f2..b99ea6dad8f416e57c5ca78c1ccef590600d841b",
    ),
    "pullrequest_fulfilled": (
        "change.merged", "team_name/repo_name", "emmap1", "2015-04-06T15:23:38.205705+00:00",
        "Pull request #1 merged in team_name/repo_name (branch2 into master): Title of pull request",
        "https://api.bitbucket.org/pullrequest_id",
    ),
    "repo_commit_status_updated": (
        "build.finished", "team_name/repo_name", "emmap1", "2015-11-20T08:01:16.433108+00:00",
        "Build 'Unit Tests (Python)' succeeded on 9fec847784ab of team_name/repo_name: All tests passed",
        "https://my-build-tool.com/builds/MY-PROJECT/BUILD-792",
    ),
    "repo_commit_status_of_pipeline": (
        "build.finished", "automationtestharness/testrepo", "automationtestharness",
        "2025-03-24T08:49:42.838984+00:00", "Build 'Pipeline #4 for main' succeeded on main of automationtestharness/testrepo",
        "https://bitbucket.org/automationtestharness/testrepo/addon/pipelines/home#!/results/4",
    ),
    "issue_comment_created": (
        "issue.changed", "team_name/repo_name", "emmap1", "2015-04-06T16:52:29.983730+00:00",
        "Comment created by emmap1 on issue #1 of team_name/repo_name: Issue title", "https://api.bitbucket.org/comment_id",
    ),
    "pr_merged": (
        "change.merged", "~gopher/webhook-test", "gopher", "2019-03-01T09:37:14+00:00",
        "Pull request #5 merged in ~gopher/webhook-test (feature/wip into master): Update README", f"{REPOS}/pull-requests/5",
    ),
    "pr_comment_added": (
        "issue.changed", "~gopher/webhook-test", "gopher", "2019-03-01T09:08:35+00:00",
        "Comment added by gopher on pull request #2 of ~gopher/webhook-test: Update README",
        f"{REPOS}/pull-requests/2/overview?commentId=167",
    ),
    "repo_refs_changed": (
        "activity.recorded", "~gopher/webhook-test", "gopher", "2019-03-01T09:37:14+00:00",
        "Branch feature/wip deleted in ~gopher/webhook-test", f"{REPOS}/browse",
    ),
}  # fmt: skip
"""Of the event made of each payload: type, subject, actor, time, title and address."""
KEYS = {name: headers_of("bitbucket", name)["x-event-key"] for name in EXPECTED}
CLOUD = [name for name in EXPECTED if not name.startswith(("pr_", "repo_refs"))]


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def delivery(event: str, body: object, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery(
        {"x-event-key": event, "x-hub-signature": SIGNATURE.sign(raw, "s3cret")} | headers, raw, ARRIVED
    )


def parsed(event: str, body: object) -> Event:
    [found] = WEBHOOKS.parse(delivery(event, body), ORIGIN)
    return found


def test_every_recorded_payload_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_payload_verifies_and_becomes_its_event(name: str) -> None:
    type_, subject, actor, time, title, url = EXPECTED[name]
    given = delivery(KEYS[name], recorded(name))

    WEBHOOKS.verify(given, (SecretStr("an older one"), SecretStr("s3cret")))
    [event] = WEBHOOKS.parse(given, ORIGIN)

    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert (event.type, event.subject, event.actor) == (type_, subject, actor)
    assert (event.title, event.url) == (title, url)
    assert event.occurred_at == (ARRIVED if time == "arrival" else datetime.fromisoformat(time))
    assert (event.system, event.source) == ("bitbucket", "bitbucket-prod")


def test_a_push_to_several_branches_is_an_event_each() -> None:
    body = recorded("repo_push")
    [change] = body["push"]["changes"]
    tag = {"type": "tag", "name": "v1", "target": {"hash": "c" * 40}}
    body["push"]["changes"] = [change, change | {"new": None, "commits": []}, {"new": tag, "old": None}]

    events = WEBHOOKS.parse(delivery("repo:push", body), ORIGIN)

    assert [event.title for event in events] == [
        "1 commit pushed to name-of-branch of team_name/repo_name: commit message",
        "Branch name-of-branch deleted in team_name/repo_name",
        "Tag v1 pushed to team_name/repo_name",
    ]


def test_what_a_push_brought_is_told_oldest_first_and_whether_that_was_all() -> None:
    body = recorded("repo_push")
    change = body["push"]["changes"][0]
    newest = change["new"]["target"]["hash"]
    change |= {
        "commits": [{"hash": newest, "message": "b"}, {"hash": "a" * 40, "message": "a"}],
        "truncated": True,
    }

    event = parsed("repo:push", body)

    assert isinstance(event, CodePushed)
    assert event.messages == ("a", "b")
    assert event.title == "2 or more commits pushed to name-of-branch of team_name/repo_name: b"


def test_a_push_to_a_server_may_tell_its_commits() -> None:
    changes = [{"ref": {"id": "refs/heads/main"}, "fromHash": "a" * 40, "toHash": "c" * 40, "type": "UPDATE"}]
    commits = [{"id": "c" * 40, "message": "newer"}, {"id": "b" * 40, "message": "older"}]
    body = recorded("repo_refs_changed") | {"changes": changes}

    silent = parsed("repo:refs_changed", body)
    telling = parsed("repo:refs_changed", body | {"commits": commits})

    assert silent.title == "Branch main pushed to ~gopher/webhook-test"
    assert isinstance(telling, CodePushed)
    assert telling.messages == ("older", "newer")


@pytest.mark.parametrize(
    ("event", "state", "type_", "happened"),
    [
        ("created", "OPEN", "change.opened", "opened"),
        ("updated", "OPEN", "change.updated", "updated"),
        ("rejected", "DECLINED", "change.closed", "declined"),
        ("fulfilled", "MERGED", "change.merged", "merged"),
    ],
)
def test_a_pull_request_of_cloud_was_opened_changed_merged_or_closed(
    event: str, state: str, type_: str, happened: str
) -> None:
    body = recorded("pullrequest_fulfilled")
    body["pullrequest"]["state"] = state

    found = parsed(f"pullrequest:{event}", body)

    assert isinstance(found, ChangeEvent)
    assert found.type == type_
    assert found.title.startswith(f"Pull request #1 {happened} in")
    assert (found.branch, found.base, found.commit) == ("branch2", "master", "d3022fc0ca3d")


@pytest.mark.parametrize(
    ("event", "type_", "happened"),
    [
        ("pr:opened", "change.opened", "opened"),
        ("pr:declined", "change.closed", "declined"),
        ("pr:from_ref_updated", "change.updated", "got new commits"),
        ("pr:reviewer:approved", "change.updated", "approved"),
    ],
)
def test_a_pull_request_of_a_server_is_what_its_event_says(event: str, type_: str, happened: str) -> None:
    found = parsed(event, recorded("pr_merged") | {"eventKey": event})

    assert isinstance(found, ChangeEvent)
    assert found.type == type_
    assert found.title.startswith(f"Pull request #5 {happened} in ~gopher/webhook-test")


@pytest.mark.parametrize(
    ("state", "type_", "failed"),
    [("INPROGRESS", "build.started", False), ("FAILED", "build.finished", True), ("STOPPED", "build.finished", False)],
)  # fmt: skip
def test_a_status_is_a_build(state: str, type_: str, failed: bool) -> None:
    body = recorded("repo_commit_status_of_pipeline")
    body["commit_status"]["state"] = state

    event = parsed("repo:commit_status_created", body)

    assert isinstance(event, BuildEvent)
    assert (event.type, event.failed, event.branch) == (type_, failed, "main")
    assert event.commit == "bdf6fac0519ffd1562461eb82e018ff62efffbc9"


def test_a_test_of_the_connection_tells_nothing() -> None:
    assert WEBHOOKS.parse(delivery("diagnostics:ping", {"test": True}), ORIGIN) == ()


def test_what_has_no_type_of_its_own_is_recorded() -> None:
    body = {"repository": {"full_name": "acme/shop"}, "actor": {"nickname": "mona"}}
    server = {"eventKey": "proj:modified", "new": {"key": "SHOP", "name": "Shop"}, "actor": {"name": "mona"}}

    assert parsed("repo:something_new", body).title == "Repo something new in acme/shop by mona"
    assert parsed("proj:modified", server).title == "Proj modified in SHOP by mona: Shop"


ALIKE = [
    {"pullrequest:created", "pullrequest:updated", "pullrequest:push"},
    {"repo:commit_status_created", "repo:commit_status_updated"},
]
"""Events whose bodies are the same in kind."""


@pytest.mark.parametrize("claimed", sorted({*FORMS, "pr:opened", "pr:comment:edited", "repo:refs_changed"}))
def test_a_signed_body_is_never_taken_for_another_event(claimed: str) -> None:
    """W04: the key is not signed."""
    for name, event in KEYS.items():
        unlike = not any({event, claimed} <= alike for alike in ALIKE)
        if claimed != event and unlike and (name not in CLOUD or claimed in FORMS):
            with pytest.raises(InvalidInput, match="not that of a"):
                parsed(claimed, recorded(name))


def test_an_open_pull_request_was_neither_merged_nor_declined() -> None:
    """W04."""
    body = recorded("pullrequest_fulfilled")
    body["pullrequest"]["state"] = "OPEN"

    for claimed in ("pullrequest:fulfilled", "pullrequest:rejected"):
        with pytest.raises(InvalidInput):
            parsed(claimed, body)


def test_a_forged_delivery_is_refused() -> None:
    given = delivery("repo:push", recorded("repo_push"))

    for changed in (
        {"x-hub-signature": "sha256=" + "0" * 64},
        {"x-hub-signature": "sha1=" + "0" * 40},
        {"x-hub-signature": ""},
    ):
        with pytest.raises(Unauthenticated):
            WEBHOOKS.verify(Delivery(given.headers | changed, given.body, ARRIVED), (SecretStr("s3cret"),))
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(Delivery(given.headers, given.body + b" ", ARRIVED), (SecretStr("s3cret"),))


@pytest.mark.parametrize(
    "event",
    ["", "push", "repo:push,repo:push", "Repo:push", "repo:", "../push", "repo:push\n", "a:" + "x" * 60],
)
def test_a_delivery_must_name_one_event(event: str) -> None:
    with pytest.raises(InvalidInput, match="X-Event-Key"):
        parsed(event, recorded("repo_push"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"push": {"changes": [{}]}, "repository": {}}',
        b'{"eventKey": []}',
    ],
)
def test_an_unexpected_body_is_refused(body: bytes) -> None:
    """H05: never a 500."""
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(delivery("repo:push", body), ORIGIN)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_field_of_another_type_breaks_the_translation(name: str) -> None:
    """Each field in turn becomes something else; the body is read without it, or refused."""
    for mutated in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivery(KEYS[name], mutated), ORIGIN)
        except InvalidInput:
            continue
        assert all(EVENT.dump_json(event) for event in events)


def test_the_delivery_is_told_by_its_id_which_is_not_signed() -> None:
    assert WEBHOOKS.delivery_key(delivery("repo:push", {}, **{"x-request-uuid": "5e5b"})) == "5e5b"
    assert WEBHOOKS.delivery_key(delivery("pr:opened", {}, **{"x-request-id": "7f7c"})) == "7f7c"
    assert WEBHOOKS.delivery_key(delivery("pr:opened", {})) is None
    assert WEBHOOKS.signed_key is False

"""GitLab's webhooks, on the examples of its documentation (gitlabhq/gitlabhq, doc/user/project/integrations/webhook_events.md), cut by
whole objects."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.gitlab.webhooks import MAX_BODY_BYTES, SIGNATURE, WEBHOOKS
from devops_mcp.events.model import (
    EVENT,
    BuildEvent,
    ChangeEvent,
    CodePushed,
    DeploymentEvent,
    Event,
    IssueChanged,
    ReleasePublished,
)
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.events import delivery_keys
from support.mutations import mutations
from support.recorded_webhooks import headers_of

RECORDED = Path(__file__).parent / "recorded"
ARRIVED = datetime(2026, 11, 1, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "gitlab-prod")
TOKEN = "a token of the hook"
SIGNING_TOKEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

EXPECTED = {
    "push": (
        "code.pushed", "mike/diaspora", "jsmith", "arrival",
        "4 commits pushed to master of mike/diaspora: fixed readme",
        "http://example.com/mike/diaspora/-/compare/95790bf891e76fee5e1747ab589903a6a1f80f22...da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
    ),
    "tag_push": (
        "code.pushed", "jsmith/example", "John Smith", "arrival",
        "Tag v1.0.0 pushed to jsmith/example", "http://example.com/jsmith/example",
    ),
    "issue": (
        "issue.changed", "gitlabhq/gitlab-test", "root", "2013-12-03T17:15:43+00:00",
        "Issue #23 opened in gitlabhq/gitlab-test: New API: create/update/delete file",
        "http://example.com/diaspora/issues/23",
    ),
    "note_on_merge_request": (
        "issue.changed", "gitlab-org/gitlab-test", "root", "2015-05-17T18:21:36+00:00",
        "Comment created by root on merge request !1 of gitlab-org/gitlab-test: Tempora et eos debitis quae laborum et.",
        "http://example.com/gitlab-org/gitlab-test/merge_requests/1#note_1244",
    ),
    "note_on_issue": (
        "issue.changed", "gitlab-org/gitlab-test", "root", "2015-05-17T17:06:40+00:00",
        "Comment created by root on issue #17 of gitlab-org/gitlab-test: test",
        "http://example.com/gitlab-org/gitlab-test/issues/17#note_1241",
    ),
    "note_on_commit": (
        "activity.recorded", "gitlabhq/gitlab-test", "root", "2015-05-17T18:08:09+00:00",
        "Comment on a commit created in gitlabhq/gitlab-test by root: This is a commit comment. How does this work?",
        "http://example.com/gitlab-org/gitlab-test/commit/cfe32cf61b73a0d5e9f13e774abde7ff789b1660#note_1243",
    ),
    "merge_request": (
        "change.opened", "gitlabhq/gitlab-test", "root", "2013-12-03T17:23:34+00:00",
        "Merge request !1 opened in gitlabhq/gitlab-test (ms-viewport into master): MS-Viewport",
        "http://example.com/diaspora/merge_requests/1",
    ),
    "wiki_page": (
        "activity.recorded", "root/awesome-project", "root", "arrival",
        "Wiki page create in root/awesome-project by root: Awesome",
        "http://example.com/root/awesome-project/-/wikis/awesome",
    ),
    "pipeline": (
        "build.finished", "gitlab-org/gitlab-test", "root", "2016-08-12T15:26:29+00:00",
        "Pipeline 'Pipeline for branch: master' succeeded on master of gitlab-org/gitlab-test: test",
        "http://example.com/gitlab-org/gitlab-test/-/pipelines/31",
    ),
    "job": (
        "activity.recorded", "gitlab-org/gitlab-test", "User", "arrival",
        "Job 'test' (test) is created in gitlab-org/gitlab-test by User: on gitlab-script-trigger",
        "http://192.168.64.1:3005/gitlab-org/gitlab-test/-/jobs/1977",
    ),
    "deployment": (
        "deployment.finished", "root/test-deployment-webhooks", "root", "2021-04-28T19:50:00+00:00",
        "Deployment of root/test-deployment-webhooks at 279484c0 to staging succeeded: Add new file",
        "http://10.126.0.2:3000/root/test-deployment-webhooks/-/jobs/796",
    ),
    "member_added": (
        "activity.recorded", "webhook-test", "test_user", "arrival",
        "User added to the group as a member in webhook-test by test_user", None,
    ),
    "project_created": (
        "activity.recorded", "group1/project1", None, "arrival",
        "Project created in group1/project1: project1", None,
    ),
    "release": (
        "release.published", "gitlab-org/release-webhook-example", None, "2020-11-02T12:55:12+00:00",
        "Release v1.1 of gitlab-org/release-webhook-example published",
        "https://example.com/gitlab-org/release-webhook-example/-/releases/v1.1",
    ),
    "milestone": (
        "activity.recorded", "gitlabhq/gitlab-test", None, "arrival",
        "Milestone create in gitlabhq/gitlab-test: v1.0", "http://example.com/gitlabhq/gitlab-test",
    ),
    "access_token": (
        "activity.recorded", "twitter", None, "arrival",
        "Access token 'acd' expires on 2024-01-26 in twitter", None,
    ),
    "vulnerability": (
        "activity.recorded", "gitlab", None, "arrival",
        "Vulnerability confirmed in gitlab: REXML DoS vulnerability",
        "https://example.com/flightjs/Flight/-/security/vulnerabilities/1",
    ),
}  # fmt: skip
"""Of the event made of each payload: type, subject, actor, time, title and address."""
HOOKS = {name: headers_of("gitlab", name)["x-gitlab-event"] for name in EXPECTED}


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return content


def by_token(body: object, header: str = "Push Hook", token: str = TOKEN, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({"x-gitlab-event": header, "x-gitlab-token": token} | headers, raw, ARRIVED)


def signed(body: object, *, id_: str = "8ab2d2f1", age: timedelta = timedelta(0), **headers: str) -> Delivery:
    raw = json.dumps(body).encode()
    timestamp = int((ARRIVED - age).timestamp())
    return Delivery(
        {
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": SIGNATURE.sign(raw, SIGNING_TOKEN, timestamp=timestamp, message_id=id_),
        }
        | headers,
        raw,
        ARRIVED,
    )


def parsed(body: object, header: str) -> Event:
    [event] = WEBHOOKS.parse(by_token(body, header), ORIGIN)
    return event


def attributes(name: str, **changes: Any) -> dict[str, Any]:
    body = recorded(name)
    return body | {"object_attributes": body["object_attributes"] | changes}


def verifies(delivery: Delivery, *secrets: str) -> bool:
    try:
        WEBHOOKS.verify(delivery, tuple(SecretStr(secret) for secret in secrets))
    except Unauthenticated:
        return False
    return True


def test_every_recorded_payload_is_expected_to_be_something() -> None:
    assert {path.stem for path in RECORDED.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_payload_verifies_and_becomes_its_event(name: str) -> None:
    type_, subject, actor, time, title, url = EXPECTED[name]
    delivery = by_token(recorded(name), HOOKS[name])

    assert verifies(delivery, "an older one", TOKEN)
    [event] = WEBHOOKS.parse(delivery, ORIGIN)

    assert EVENT.validate_json(EVENT.dump_json(event)) == event
    assert (event.type, event.subject, event.actor) == (type_, subject, actor)
    assert (event.title, event.url) == (title, url)
    assert event.occurred_at == (ARRIVED if time == "arrival" else datetime.fromisoformat(time))
    assert (event.system, event.source) == ("gitlab", "gitlab-prod")


def test_what_a_push_brought_is_told_oldest_first() -> None:
    event = parsed(recorded("push"), "Push Hook")

    assert isinstance(event, CodePushed)
    assert event.ref == "refs/heads/master"
    assert event.commit == "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
    assert event.messages == ("Update Catalan translation to e38cb41.", "fixed readme")


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"after": "0" * 40, "checkout_sha": None, "commits": []}, "Branch master deleted in mike/diaspora"),
        ({"before": "0" * 40, "commits": [], "total_commits_count": 0}, "Branch master created in mike/diaspora"),
    ],
)  # fmt: skip
def test_a_branch_may_come_and_go(change: dict[str, Any], title: str) -> None:
    assert parsed(recorded("push") | change, "Push Hook").title == title


@pytest.mark.parametrize(
    ("change", "type_", "happened"),
    [
        ({"action": "merge", "state": "merged"}, "change.merged", "merged"),
        ({"action": "close", "state": "closed"}, "change.closed", "closed"),
        ({"action": "reopen"}, "change.opened", "reopened"),
        ({"action": "update"}, "change.updated", "updated"),
        ({"action": "update", "oldrev": "b6568db1"}, "change.updated", "got new commits"),
        ({"action": "approved"}, "change.updated", "approved"),
        ({"action": None}, "change.updated", "updated"),
    ],
)
def test_a_merge_request_was_opened_changed_merged_or_closed(
    change: dict[str, Any], type_: str, happened: str
) -> None:
    event = parsed(attributes("merge_request", **change), "Merge Request Hook")

    assert isinstance(event, ChangeEvent)
    assert event.type == type_
    assert event.title.startswith(f"Merge request !1 {happened} in gitlabhq/gitlab-test")
    assert (event.number, event.branch, event.base) == (1, "ms-viewport", "master")


@pytest.mark.parametrize(
    ("status", "type_", "failed", "happened"),
    [
        ("running", "build.started", False, "started"),
        ("success", "build.finished", False, "succeeded"),
        ("failed", "build.finished", True, "failed"),
        ("canceled", "build.finished", False, "was cancelled"),
        ("skipped", "build.finished", False, "was skipped"),
    ],
)
def test_a_pipeline_started_or_ended(status: str, type_: str, failed: bool, happened: str) -> None:
    event = parsed(attributes("pipeline", status=status), "Pipeline Hook")

    assert isinstance(event, BuildEvent)
    assert (event.type, event.failed) == (type_, failed)
    assert f"' {happened} on master of" in event.title
    assert (event.run_id, event.branch, event.commit) == (
        "31",
        "master",
        "bcbb5ec396a2c0f828686f14fac9b80b780504f2",
    )
    assert event.duration_s == (None if status == "running" else 63)


@pytest.mark.parametrize("status", ["created", "pending", "manual", "waiting_for_resource", "something_new"])
def test_a_pipeline_that_waits_is_an_activity(status: str) -> None:
    event = parsed(attributes("pipeline", status=status), "Pipeline Hook")

    assert event.type == "activity.recorded"
    assert f"is {status.replace('_', ' ')} in" in event.title


def test_a_pipeline_without_an_address_gets_one() -> None:
    event = parsed(attributes("pipeline", url=None), "Pipeline Hook")

    assert event.url == "http://192.168.64.1:3005/gitlab-org/gitlab-test/-/pipelines/31"


@pytest.mark.parametrize(
    ("status", "type_", "failed"),
    [("running", "deployment.started", False), ("failed", "deployment.finished", True), ("canceled", "deployment.finished", False)],
)  # fmt: skip
def test_a_deployment_started_or_ended(status: str, type_: str, failed: bool) -> None:
    event = parsed(recorded("deployment") | {"status": status}, "Deployment Hook")

    assert isinstance(event, DeploymentEvent)
    assert (event.type, event.failed, event.environment) == (type_, failed, "staging")


def test_other_work_items_are_told_under_their_own_name() -> None:
    body = attributes("issue", type="Incident", action="close", state="closed") | {"object_kind": "work_item"}

    event = parsed(body, "Issue Hook")

    assert isinstance(event, IssueChanged)
    assert event.title.startswith("Incident #23 closed in gitlabhq/gitlab-test")
    assert (event.number, event.action, event.state) == ("23", "close", "closed")


def test_only_a_new_release_is_published() -> None:
    new = parsed(recorded("release"), "Release Hook")
    gone = parsed(recorded("release") | {"action": "delete"}, "Release Hook")

    assert isinstance(new, ReleasePublished)
    assert (new.version, new.body) == ("v1.1", "v1.1 has been released")
    assert gone.type == "activity.recorded"
    assert gone.title == "Release deleted in gitlab-org/release-webhook-example: v1.1"


def test_hooks_of_an_instance_say_what_they_are_in_the_body() -> None:
    assert parsed(recorded("push"), "System Hook").type == "code.pushed"


class TestProof:
    def test_a_signed_delivery_is_accepted_with_either_reading_of_the_key(self) -> None:
        body = recorded("push")
        plain = signed(body)
        raw = SIGNING_TOKEN.encode()
        timestamp = int(plain.headers["webhook-timestamp"])
        under_raw = by_raw_key(raw, "8ab2d2f1", timestamp, plain.body)

        assert verifies(plain, SIGNING_TOKEN)
        assert verifies(
            Delivery(plain.headers | {"webhook-signature": under_raw}, plain.body, ARRIVED), SIGNING_TOKEN
        )

    @pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
    def test_nothing_that_is_signed_can_change_or_be_missing(self, header: str) -> None:
        delivery = signed(recorded("push"))
        changed = delivery.headers[header][:-2] + "1="

        assert not verifies(
            Delivery(delivery.headers | {header: changed}, delivery.body, ARRIVED), SIGNING_TOKEN
        )
        without = {name: value for name, value in delivery.headers.items() if name != header}
        assert not verifies(Delivery(without, delivery.body, ARRIVED), SIGNING_TOKEN)
        assert not verifies(Delivery(delivery.headers, delivery.body + b" ", ARRIVED), SIGNING_TOKEN)

    @pytest.mark.parametrize(("age", "accepted"), [(299, True), (301, False), (-301, False)])
    def test_a_signature_is_fresh(self, age: int, accepted: bool) -> None:
        """W05."""
        assert verifies(signed({}, age=timedelta(seconds=age)), SIGNING_TOKEN) is accepted

    @pytest.mark.parametrize("token", ["", "another", f"{TOKEN} ", TOKEN.upper(), f"{TOKEN},{TOKEN}"])
    def test_a_wrong_token_is_refused(self, token: str) -> None:
        """W01."""
        assert not verifies(by_token({}, token=token), TOKEN)
        assert not verifies(by_token({}, token=token))

    def test_a_signed_delivery_is_told_by_its_id_alone(self) -> None:
        """The same bytes under another signed id are another delivery: a branch was moved back and forth."""
        delivery = signed(recorded("push"))

        assert delivery_keys(WEBHOOKS, delivery, WEBHOOKS.parse(delivery, ORIGIN)) == ["id:8ab2d2f1"]

    def test_a_delivery_with_a_token_is_told_by_its_body(self) -> None:
        """W03: what is not signed could name any id."""
        keys = [
            delivery_keys(WEBHOOKS, given, WEBHOOKS.parse(given, ORIGIN))
            for given in (
                by_token(recorded("push"), **{"webhook-id": "1", "idempotency-key": "1"}),
                by_token(recorded("push"), **{"webhook-id": "2", "idempotency-key": "2"}),
            )
        ]

        assert keys[0] == keys[1]
        assert keys[0][0].startswith("body:")


def by_raw_key(key: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """A signature made without ours."""
    text = b".".join((id_.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, text, "sha256")).decode()


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("header", ["Push Hook", "Pipeline Hook", "Deployment Hook", "Merge Request Hook"])
def test_a_body_is_never_taken_for_another_event(name: str, header: str) -> None:
    """W04: the header is not signed."""
    if HOOKS[name] == header:
        return
    with pytest.raises(InvalidInput, match="X-Gitlab-Event"):
        parsed(recorded(name), header)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"object_kind": 1}', b'{"object_kind": "../push"}', b'{"object_kind": "push"}',
        b'{"object_kind": "push", "ref": 1, "before": [], "after": null}', b'{"object_kind": "note", "object_attributes": []}',
        b'{"object_kind": "pipeline", "object_attributes": {"id": "x"}}', b'{"object_kind": "deployment", "project": []}',
        b'{"object_kind": "build"}', b'{"object_kind": "merge_request"}', b'{"object_kind": "release", "action": {}}',
        b'{"object_kind": "issue", "object_attributes": {"iid": {}}}', b"[" * 100_000, b'{"object_kind": "push", "a": NaN}',
    ],
)  # fmt: skip
def test_an_unexpected_body_is_refused(body: bytes) -> None:
    """H05: never a 500."""
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(by_token(body, "System Hook"), ORIGIN)


@pytest.mark.parametrize("name", EXPECTED)
def test_no_field_of_another_type_breaks_the_translation(name: str) -> None:
    """Each field in turn becomes something else; the body is read without it, or refused."""
    for mutated in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(by_token(mutated, HOOKS[name]), ORIGIN)
        except InvalidInput:
            continue
        assert all(EVENT.dump_json(event) for event in events)


def test_the_limit_is_gitlabs() -> None:
    assert WEBHOOKS.max_body_bytes == MAX_BODY_BYTES == 26_214_400

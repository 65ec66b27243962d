"""Artifactory's webhooks: examples of JFrog's documentation (event types), retyped; Docker's also with what is around the data."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from devops_mcp.adapters.artifactory.webhooks import WEBHOOKS
from devops_mcp.adapters.base import Delivery, Origin
from devops_mcp.adapters.jfrog import SIGNATURE
from devops_mcp.events.model import EVENT, ActivityRecorded, Event, ReleasePublished
from devops_mcp.models.errors import InvalidInput, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from support.mutations import mutations

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(path.stem for path in RECORDED.iterdir())
ARRIVED = datetime(2026, 11, 20, 10, 4, tzinfo=UTC)
ORIGIN = Origin(DEFAULT_TENANT_ID, "binaries")
SECRETS = (SecretStr("an older one"), SecretStr("s3cret"))


def recorded(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_bytes())
    return read


def delivered(body: object, auth: str | None = None) -> Delivery:
    raw = json.dumps(body).encode()
    return Delivery(
        {"x-jfrog-event-auth": SIGNATURE.sign(raw, "s3cret") if auth is None else auth}, raw, ARRIVED
    )


def parsed(name: str) -> Event:
    [event] = WEBHOOKS.parse(delivered(recorded(name)), ORIGIN)
    return event


@pytest.mark.parametrize("name", ["docker_pushed", "docker_pushed_documented"])
def test_an_image_that_is_pushed_is_a_new_version(name):
    event = parsed(name)
    assert isinstance(event, ReleasePublished)
    assert event.title == "Docker library/ubuntu:latest pushed, repository docker-remote-cache"
    assert (event.subject, event.version) == ("library/ubuntu", "latest")


def test_a_release_bundle_that_is_created_is_a_new_version():
    event = parsed("release_bundle_created")
    assert isinstance(event, ReleasePublished)
    assert (event.title, event.subject, event.version) == (
        "Release bundle sample_name 1.0.0 created",
        "sample_name",
        "1.0.0",
    )


def test_what_happens_to_an_artifact_is_recorded_with_where_it_went():
    event = parsed("artifact_moved")
    assert isinstance(event, ActivityRecorded)
    assert event.title == "Artifact sample_repo/sample_dir/sample.txt moved to sample_target_repo"
    assert (event.subject, event.vendor_type, event.action) == ("sample_repo", "artifact", "moved")
    assert event.occurred_at == ARRIVED


def test_builds_and_failed_bundles_are_recorded():
    build, bundle = parsed("build_promoted"), parsed("release_bundle_v2_failed")
    assert isinstance(build, ActivityRecorded)
    assert isinstance(bundle, ActivityRecorded)
    assert (build.title, build.subject) == ("Build sample_build_name #1 promoted", "sample_build_name")
    assert bundle.title == "Release bundle v2 release-bundle-1 1.0.0 failed"
    assert bundle.occurred_at == datetime(2022, 10, 10, 15, 36, 4, 894000, timezone(timedelta(hours=3)))


def test_who_did_it_is_told_where_artifactory_says():
    body = recorded("docker_pushed") | {"userContext": {"id": "johndoe", "isToken": False, "realm": "ldap"}}
    [event] = WEBHOOKS.parse(delivered(body), ORIGIN)
    assert event.actor == "johndoe"


def test_the_secret_itself_or_a_signature_by_it_proves_the_sender():
    given = delivered(recorded("docker_pushed"))
    WEBHOOKS.verify(given, SECRETS)
    for secret in SECRETS:
        WEBHOOKS.verify(delivered(recorded("docker_pushed"), secret.get_secret_value()), SECRETS)
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(Delivery(given.headers, given.body + b" ", ARRIVED), SECRETS)


@pytest.mark.parametrize("auth", ["", "S3CRET", "s3cret, s3cret", "0" * 64, SIGNATURE.sign(b"{}", "s3cret")])
def test_nothing_else_does(auth):
    """W01"""
    with pytest.raises(Unauthenticated):
        WEBHOOKS.verify(delivered(recorded("docker_pushed"), auth), SECRETS)


@pytest.mark.parametrize(
    "body", [{}, {"event_type": 7, "data": {}}, {"event_type": "pushed", "data": []}, []]
)
def test_a_body_that_is_no_event_is_refused(body):
    with pytest.raises(InvalidInput):
        WEBHOOKS.parse(delivered(body), ORIGIN)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_wrong_with_a_body_it_is_read_or_refused(name):
    """W04"""
    for body in mutations(recorded(name)):
        try:
            events = WEBHOOKS.parse(delivered(body), ORIGIN)
        except InvalidInput:
            continue
        for event in events:
            assert EVENT.validate_json(EVENT.dump_json(event)) == event

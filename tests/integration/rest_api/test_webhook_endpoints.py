"""Outgoing webhooks over REST."""

import base64
import json
from typing import Any

import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import open_database
from support.addresses import FORBIDDEN, METADATA
from support.happenings import happen
from support.rest import a_caller
from support.services import new_key, settings_for
from support.tenants import add_tenant

ENDPOINTS = "/api/v1/webhook-endpoints"
DRAFT: dict[str, Any] = {"name": "receiver", "url": "http://127.0.0.1:9/hook?key=canary-7d02"}


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


def rows(database, query: str) -> list[tuple]:
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute(query).fetchall()


async def test_an_endpoint_is_created_shown_changed_and_deleted_and_its_secret_shown_once(database, settings):
    """L05"""
    async with a_caller(database, settings) as rest:
        created = await rest("POST", ENDPOINTS, json={**DRAFT, "filter": {"types": ["build.*"]}})
        path = f"{ENDPOINTS}/{created.json()['id']}"
        shown = (await rest("GET", path)).json()
        listed = (await rest("GET", ENDPOINTS)).json()["items"]
        changed = (await rest("PUT", path, json={**DRAFT, "filter": None, "enabled": False})).json()
        enabled = (await rest("PUT", path, json=DRAFT)).json()
        deleted = await rest("DELETE", path)
        gone = [(await rest(method, path)).status_code for method in ("GET", "DELETE")]
    secret = created.json()["secret"]
    assert created.status_code == 201
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert shown == {name: value for name, value in created.json().items() if name != "secret"}
    assert listed == [shown]
    assert (changed["enabled"], changed["filter"], changed["disabled_reason"]) == (
        False,
        None,
        "disabled by its owner",
    )
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    assert (deleted.status_code, gone) == (204, [404, 404])
    audited = rows(database, "SELECT action, arguments::text FROM audit_log ORDER BY id")
    assert [action for action, _ in audited] == [
        "webhooks.create",
        "webhooks.replace",
        "webhooks.replace",
        "webhooks.delete",
    ]
    assert "canary" not in str(audited)
    told = [json.loads(arguments) for _, arguments in audited]
    assert ("before" in told[0], told[0]["after"]["host"]) == (False, "127.0.0.1")
    assert [(one["before"]["enabled"], one["after"]["enabled"]) for one in told[1:3]] == [
        (True, False),
        (False, True),
    ]
    assert (told[3]["before"]["name"], "after" in told[3]) == ("receiver", False)


async def test_a_rotation_shows_the_new_secret_once_and_until_when_the_old_one_signs(database, settings):
    async with a_caller(database, settings) as rest:
        created = (await rest("POST", ENDPOINTS, json=DRAFT)).json()
        path = f"{ENDPOINTS}/{created['id']}"
        rotated = (await rest("POST", f"{path}/rotate-secret", json={"overlap_hours": 2})).json()
        at_once = (await rest("POST", f"{path}/rotate-secret", json={"overlap_hours": 0})).json()
        too_long = await rest("POST", f"{path}/rotate-secret", json={"overlap_hours": 169})
    assert len({created["secret"], rotated["secret"], at_once["secret"]}) == 3
    assert rotated["previous_until"] is not None
    assert at_once["previous_until"] is None
    assert too_long.status_code == 422


async def test_an_endpoint_that_no_event_could_reach_is_refused(database, settings):
    async with a_caller(database, settings) as rest:
        path = f"{ENDPOINTS}/{(await rest('POST', ENDPOINTS, json=DRAFT)).json()['id']}"
        misspelt = {**DRAFT, "filter": {"types": ["build.*", "alert.fire"]}}
        refused = [await rest("POST", ENDPOINTS, json=misspelt), await rest("PUT", path, json=misspelt)]
    for answer in refused:
        assert answer.status_code == 422
        assert answer.json()["violations"][0]["where"] == "body.filter.types.1"
        assert "alert.fired" in answer.json()["detail"]


async def test_addresses_of_ours_are_refused_when_they_are_saved(database, settings):
    """I05, I06: loopback is opened in these settings, metadata services never are."""
    forbidden = [address for address in (*FORBIDDEN, *METADATA) if "127." not in address]
    async with a_caller(database, settings) as rest:
        for address in forbidden:
            host = f"[{address}]" if ":" in address else address
            answer = await rest("POST", ENDPOINTS, json={**DRAFT, "url": f"https://{host}/"})
            assert answer.status_code == 422, address
            assert answer.json()["violations"][0]["where"] == "body.url"
    assert rows(database, "SELECT count(*) FROM webhook_endpoints") == [(0,)]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "example.com",
        "https://",
        "https://user:canary@example.com/",
        "https://example.com/#part",
        "http://203.0.114.1/plain",
        "http://１２７.０.０.１/",
        "https://exa mple.com/",
        "file:///etc/passwd",
        "https://" + "a" * 2_000,
    ],
)
async def test_what_is_no_address_to_post_to_is_refused(database, settings, url):
    """I05"""
    async with a_caller(database, settings) as rest:
        answer = await rest("POST", ENDPOINTS, json={**DRAFT, "url": url})
    assert answer.status_code == 422
    assert "canary" not in answer.text


@pytest.mark.parametrize("grants", [("webhooks:read", "events:read"), ("webhooks:write",), ("events:read",)])
async def test_letting_events_out_needs_the_rights_to_write_webhooks_and_to_read_events(
    database, settings, grants
):
    """A18"""
    async with a_caller(database, settings, *grants) as rest:
        assert (await rest("POST", ENDPOINTS, json=DRAFT)).status_code == 403
    assert rows(database, "SELECT DISTINCT outcome FROM audit_log") == [("denied",)]


async def test_a_tenant_has_a_bounded_number_of_endpoints(database, settings, monkeypatch):
    monkeypatch.setattr("devops_mcp.operations.webhook_endpoints.MAX_ENDPOINTS", 2)
    async with a_caller(database, settings) as rest:
        statuses = [(await rest("POST", ENDPOINTS, json=DRAFT)).status_code for _ in range(3)]
    assert statuses == [201, 201, 409]


async def test_deliveries_are_listed_by_state_and_page_and_resent_when_they_have_ended(
    database, redis_url, settings
):
    async with a_caller(database, settings) as rest:
        path = f"{ENDPOINTS}/{(await rest('POST', ENDPOINTS, json=DRAFT)).json()['id']}/deliveries"
        await happen(database.worker_url, redis_url, 1, 2, 3)
        first = (await rest("GET", path, params={"limit": 2})).json()
        behind = (await rest("GET", path, params={"cursor": first["next_cursor"]})).json()
        delivery = first["items"][0]["id"]
        under_way = await rest("POST", f"{path}/{delivery}/resend")
        async with (
            open_database(database.worker_url, pool_size=1, application="test") as opened,
            opened.transaction(DEFAULT_TENANT_ID) as tx,
        ):
            await tx.webhook_deliveries.end(delivery, "given up")
        failed = (await rest("GET", path, params={"status": "failed"})).json()["items"]
        resent = await rest("POST", f"{path}/{delivery}/resend")
        one = (await rest("GET", f"{path}/{delivery}")).json()
        unknown = await rest("POST", f"{path}/{new_id()}/resend")
        absent = await rest("GET", f"{path.replace(path.split('/')[-2], str(new_id()))}/{delivery}")
    assert (len(first["items"]), len(behind["items"]), behind["next_cursor"]) == (2, 1, None)
    assert (under_way.status_code, unknown.status_code) == (409, 404)
    assert [(f["id"], f["last_error"]) for f in failed] == [(delivery, "given up")]
    assert (resent.status_code, resent.json()["status"]) == (200, "pending")
    assert (one["id"], one["status"], absent.status_code) == (delivery, "pending", 404)
    assert rows(database, "SELECT count(*) FROM outbox WHERE queue = 'notifications'") == [(4,)]


async def test_anothers_endpoint_is_answered_like_one_that_does_not_exist(database, redis_url, settings):
    """T01"""
    other = new_id()
    add_tenant(database, other)
    async with a_caller(database, settings, tenant_id=other) as theirs:
        endpoint = (await theirs("POST", ENDPOINTS, json=DRAFT)).json()["id"]
    await happen(database.worker_url, redis_url, 1)  # an event of the default tenant
    async with a_caller(database, settings) as rest:
        answers = []
        for id_ in (endpoint, str(new_id())):
            for method, suffix, body in (
                ("GET", "", None),
                ("PUT", "", DRAFT),
                ("DELETE", "", None),
                ("POST", "/rotate-secret", {}),
                ("GET", "/deliveries", None),
                ("POST", f"/deliveries/{new_id()}/resend", None),
            ):
                answer = await rest(method, f"{ENDPOINTS}/{id_}{suffix}", json=body)
                answers.append((answer.status_code, answer.json()["detail"].replace(id_, "ID")))
        listed = (await rest("GET", ENDPOINTS)).json()["items"]
    assert answers[:6] == answers[6:]
    assert {status for status, _ in answers} == {404}
    assert listed == []
    assert rows(database, "SELECT count(*) FROM webhook_deliveries") == [(0,)]


async def test_who_may_only_read_endpoints_sees_where_they_are_and_not_the_rest_of_the_address(
    database, settings
):
    async with a_caller(database, settings) as rest:
        created = (await rest("POST", ENDPOINTS, json=DRAFT)).json()
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, "webhooks:read")
        shown = await rest("GET", f"{ENDPOINTS}/{created['id']}")
        listed = await rest("GET", ENDPOINTS)
    assert shown.json()["url"] == "http://127.0.0.1:9/…"
    assert listed.json()["items"] == [shown.json()]
    assert "canary" not in shown.text + listed.text

"""The device flow over real HTTP (RFC 8628): a program waits while its user says yes or no in a browser."""

import re

import psycopg
import pytest

from devops_mcp.models.oauth import CLI_CLIENT
from support.device import Device
from support.oauth import PASSWORD, an_authorization_server, reachable_settings
from support.services import new_key


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


async def test_a_program_waits_for_its_user_and_has_then_what_was_allowed(database, settings):
    async with an_authorization_server(database, settings) as place:
        device = Device(place)
        await device.begin()
        assert re.fullmatch(r"[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}", device.told["user_code"])
        assert device.told["verification_uri"] == f"{place.url}/oauth/device"
        assert await device.error() == "authorization_pending"
        assert await device.error() == "slow_down"
        device.let_time_pass(database, 5)
        assert await device.error() == "slow_down", "the pause has become longer"
        device.let_time_pass(database, 15)
        assert await device.error() == "authorization_pending"
        done = await device.connect("allow", scope="search:read")
        assert "Done" in done.text
        assert await device.error(client_id=place.client.id) == "invalid_grant", "another program's code"
        device.let_time_pass(database, 15)
        answer = await device.poll()
        assert (answer.headers["cache-control"], answer.json()["scope"]) == ("no-store", "search:read")
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        me = (await place.client.http.get(f"{place.url}/api/v1/me", headers=bearer)).json()
        assert (me["name"], me["limits"]) == ("alice", [["search:read"]])
        device.let_time_pass(database, 15)
        assert await device.error() == "invalid_grant", "it is good once"
        refreshed = {"grant_type": "refresh_token", "refresh_token": answer.json()["refresh_token"]}
        assert (await place.client.token(**refreshed, client_id=CLI_CLIENT)).status_code == 200


async def test_a_user_says_no_and_a_user_says_nothing(database, settings):
    async with an_authorization_server(database, settings) as place:
        device = Device(place)
        await device.begin()
        await device.connect("deny")
        assert await device.error() == "access_denied"
        assert await device.error() == "invalid_grant"
        await device.begin()
        device.let_time_pass(database, 601)
        assert await device.error() == "expired_token"
        for changes, error in (
            ({"client_id": "nobody"}, "invalid_client"),
            ({"scope": "no:such:thing"}, "invalid_scope"),
            ({"resource": "https://evil.example.com"}, "invalid_target"),
        ):
            assert (await device.begin(**changes)).json()["error"] == error
        with psycopg.connect(database.superuser_url) as connection:
            rows = connection.execute("SELECT action, outcome FROM audit_log WHERE action = 'oauth.consent'")
            assert rows.fetchall() == [("oauth.consent", "denied")]


async def test_who_withdraws_before_the_device_asks_has_let_it_have_nothing(database, settings):
    async with an_authorization_server(database, settings) as place:
        device = Device(place)
        await device.begin()
        await device.connect("allow", scope="search:read")
        root = {"X-API-Key": await new_key(database.owner_url)}
        consents = f"{place.url}/api/v1/oauth/consents"
        [consent] = (await place.client.http.get(consents, headers=root)).json()["items"]
        assert consent["scopes"] == ["search:read"]
        gone = await place.client.http.delete(f"{consents}/{consent['id']}", headers=root)
        assert gone.status_code == 204
        assert await device.error() == "access_denied"


async def test_who_guesses_codes_is_stopped_and_hears_nothing_of_those_that_are_not_waited_for(
    database, settings
):
    """A10"""
    async with an_authorization_server(database, settings) as place:
        device = Device(place)
        await device.begin()
        page = await place.alice.open(f"{place.url}/oauth/device")
        page = await place.alice.sign_in(page, "alice", PASSWORD)
        for typed in ("", "aaaa", "BCDF-GHJK", "0" * 5_000, "<b>", "BCDF-GHJK", "x", "y", "z", "w"):
            wrong = await place.alice.submit(page, user_code=typed)
            assert wrong.answer.status_code == 403
            assert "no device waits" in wrong.text.lower()
        right = await place.alice.submit(page, user_code=device.told["user_code"].lower().replace("-", " "))
        assert "too many attempts" in right.text.lower()
        assert await device.error() == "authorization_pending"

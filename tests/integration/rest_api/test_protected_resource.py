"""rest-api as a resource of OAuth: a client that knows its address only finds the way to a token, and to a wider one (RFC 9728, A09)."""

import re

import pytest

from support.oauth import an_authorization_server, reachable_settings
from support.services import new_key

METADATA = "/.well-known/oauth-protected-resource"


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


def said_in(challenge: str) -> dict[str, str]:
    assert challenge.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', challenge))


async def test_a_client_finds_its_way_from_a_401_to_a_token_and_from_a_403_to_a_wider_one(database, settings):
    """A03, A09: a token of mcp-server is refused here, and said to be the wrong one."""
    async with an_authorization_server(database, settings) as place:
        http, contexts = place.client.http, f"{place.url}/api/v1/contexts"

        async def token(**asked: str) -> dict[str, str]:
            tokens = (await place.client.exchange(await place.code(**asked))).json()
            return {"Authorization": f"Bearer {tokens['access_token']}"}

        refused = await http.get(contexts)
        told = said_in(refused.headers["www-authenticate"])
        assert (refused.status_code, told["resource_metadata"]) == (401, f"{place.url}{METADATA}")
        assert "error" not in told, "nothing was presented"
        described = (await http.get(told["resource_metadata"])).json()
        assert described["resource"] == place.url
        assert described["authorization_servers"] == [place.url]

        elsewhere = await http.get(contexts, headers=await token(resource=settings.mcp.url))
        assert elsewhere.status_code == 401
        assert said_in(elsewhere.headers["www-authenticate"])["error"] == "invalid_token"

        reading = await token(resource=described["resource"], scope="contexts:read")
        assert (await http.get(contexts, headers=reading)).status_code == 200
        narrow = await http.post(contexts, json={"title": "x"}, headers=reading)
        told = said_in(narrow.headers["www-authenticate"])
        assert (narrow.status_code, told["error"]) == (403, "insufficient_scope")
        assert told["scope"] == "contexts:read contexts:write"
        writing = await token(resource=described["resource"], scope=told["scope"])
        assert (await http.post(contexts, json={"title": "x"}, headers=writing)).status_code == 201


async def test_who_would_not_be_helped_by_another_token_is_not_sent_for_one(database, settings):
    """A key has the rights that it has, a user too; and the senders of webhooks have no tokens."""
    key = await new_key(database.owner_url, "contexts:read")
    async with an_authorization_server(database, settings) as place:
        http = place.client.http
        lacking = await http.post(
            f"{place.url}/api/v1/contexts", json={"title": "x"}, headers={"X-API-Key": key}
        )
        assert (lacking.status_code, lacking.headers.get("www-authenticate")) == (403, None)
        asked = {"resource": place.url, "scope": "contexts:read"}
        tokens = (await place.client.exchange(await place.code(**asked))).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        users = await http.get(f"{place.url}/api/v1/roles", headers=bearer)
        assert said_in(users.headers["www-authenticate"])["scope"] == "contexts:read roles:read"
        forbidden = await http.get(f"{place.url}/api/v1/audit", headers=bearer)
        assert (forbidden.status_code, forbidden.headers.get("www-authenticate")) == (403, None)

"""The authorization code grant over real HTTP: pages, codes and tokens (cases A09, A13, L05)."""

import pytest

from support.oauth import an_authorization_server, reachable_settings


@pytest.fixture
def settings(database, redis_url):
    return reachable_settings(database.app_url, redis_url)


async def test_a_user_lets_a_client_act_and_the_tokens_do_what_was_chosen(database, settings):
    async with an_authorization_server(database, settings) as place:
        page = await place.consent_page(scope="contexts:read contexts:write", resource=settings.rest.url)
        assert "A desktop client" in page.text
        await place.alice.submit(page, decision="allow", scope="contexts:read")
        said = place.alice.answered()
        assert said.keys() == {"code", "state", "iss"}
        tokens = (await place.client.exchange(said["code"], resource=settings.rest.url)).json()
        assert tokens["scope"] == "contexts:read"
        me = await place.client.http.get(
            f"{place.url}/api/v1/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}
        )
        assert me.json()["limits"] == [["contexts:read"]]

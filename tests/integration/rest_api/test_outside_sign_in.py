"""People sign in at an identity provider from our own pages: from a client's request to tokens, against a provider that really signs."""

from contextlib import asynccontextmanager
from typing import Any

import httpx2
import psycopg
from redis.asyncio import Redis
from starlette.responses import JSONResponse, RedirectResponse, Response

from devops_mcp.config import Environment, IdentityProviderSettings
from support.browser import Page, Person
from support.device import Device
from support.html_rules import faults_of
from support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, an_identity_provider
from support.oauth import PASSWORD, Place, an_authorization_server, reachable_settings
from support.services import new_key

SIGN_IN = {"name": "Example & Co", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
BEGIN_ANEW = "Begin again"


class Away:
    """A person who chose the provider, and is there now."""

    def __init__(self, place: Place, provider: IdentityProvider) -> None:
        self._place = place
        self._provider = provider
        self.alice = place.alice

    async def leave(self) -> str:
        """The address that the browser was sent to."""
        page = await self.alice.open(self._place.client.asking())
        [link] = page.links
        await self.alice.open(link)
        assert self.alice.away is not None
        return self.alice.away

    async def answer(self, address: str) -> str:
        """Where the provider leads back to."""
        async with httpx2.AsyncClient(timeout=60) as provider:
            return (await provider.get(address)).headers["location"]

    async def come_back(self, **says: Any) -> Page:
        """The page that the person sees then, the provider saying this in its ID token."""
        self._provider.says = says
        return await self.alice.open(await self.answer(await self.leave()))

    async def come_anew(self, **says: Any) -> Page:
        """As `come_back`, whoever has signed in in the browser before."""
        self.alice.http.cookies.clear()
        return await self.come_back(**says)


@asynccontextmanager
async def a_way_elsewhere(database, redis_url, **options: Any):
    async with an_identity_provider() as provider:
        configured = IdentityProviderSettings(
            issuer=provider.issuer, sign_in=SIGN_IN, roles={"devs": ("developer",)}, **options
        )
        settings = reachable_settings(
            database.app_url,
            redis_url,
            identity_providers=(configured,),
            environment=Environment.DEVELOPMENT,
        )
        async with an_authorization_server(database, settings) as place:
            provider.redirect_uris = [f"{place.url}/oauth/callback"]
            yield Away(place, provider), place, provider


TOO_LARGE = JSONResponse({"sub": "ann", "padding": "x" * 300_000})
REFUSED = [JSONResponse({"error": "insufficient_scope"}, status) for status in (401, 403)]
SIGNED = Response("eyJ.eyJ.c2ln", media_type="application/jwt")


def users_of(database) -> list[tuple[str, str | None, list[str]]]:
    """Those that came from the provider, as they came."""
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute(
            "SELECT username, email, roles FROM users WHERE username <> 'alice' ORDER BY id"
        ).fetchall()


def audited(database, action: str) -> list[str]:
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute("SELECT outcome FROM audit_log WHERE action = %s ORDER BY at", (action,))
        return [row[0] for row in rows]


async def test_a_person_signs_in_at_the_provider_and_lets_the_client_act(database, redis_url):
    """L05: with the roles that the provider's claims give, and a record of the sign-in."""
    async with a_way_elsewhere(database, redis_url, create_users=True) as (away, place, provider):
        provider.person = {
            "sub": "ann",
            "preferred_username": "ann.lee",
            "name": "Ann Lee",
            "groups": ["devs"],
        }
        asked = await away.alice.open(place.client.asking())
        assert "Sign in with Example & Co" in asked.text
        assert faults_of(asked.answer.text) == []
        consent = await away.come_back()
        assert "You are signed in as ann.lee" in consent.text
        await away.alice.submit(consent, decision="allow", scope=["contexts:read"])
        tokens = (await place.client.exchange(away.alice.answered()["code"], resource=place.url)).json()
        assert tokens["error"] == "invalid_target", "the code was for mcp-server"
        page = await away.alice.open(place.client.asking(resource=place.url))
        await away.alice.submit(page, decision="allow", scope=["contexts:read"])
        tokens = (await place.client.exchange(away.alice.answered()["code"])).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        me = (await place.client.http.get(f"{place.url}/api/v1/me", headers=bearer)).json()
        assert me["name"] == "ann.lee"
        assert (
            await place.client.http.get(f"{place.url}/api/v1/contexts", headers=bearer)
        ).status_code == 200
    assert audited(database, "login.identity") == ["ok"]


async def test_who_is_no_user_here_is_told_so_on_the_page_that_asks(database, redis_url):
    async with a_way_elsewhere(database, redis_url) as (away, place, _):
        page = await away.come_back()
        assert "has no account here" in page.text
        assert faults_of(page.answer.text) == []
        assert (
            "Let A desktop client"
            in (await place.alice.sign_in(page, "alice", "correct horse battery staple")).text
        )


NOT_THE_ANSWER: tuple[dict[str, Any], ...] = (
    {"nonce": "another"},
    {"nonce": None},
    {"aud": "another-client"},
    {"aud": [CLIENT_ID, "another"], "azp": "another"},
    {"aud": [CLIENT_ID, "another"]},
    {"iss": "https://elsewhere.example.com"},
    {"exp": 1},
    {"forged": True},
)


async def test_an_id_token_that_is_not_the_answer_signs_nobody_in(database, redis_url):
    """A01, A02, A03"""
    async with a_way_elsewhere(database, redis_url, create_users=True) as (away, _, _):
        for says in NOT_THE_ANSWER:
            assert "cannot be believed" in (await away.come_back(**says)).text, says
        assert "You are signed in as" in (await away.come_back(aud=[CLIENT_ID, "x"], azp=CLIENT_ID)).text


async def test_an_answer_counts_once_and_in_the_browser_that_it_is_for(database, redis_url):
    """S01: neither another browser nor a second use, nor another state or issuer, and no code without its verifier."""
    async with a_way_elsewhere(database, redis_url, create_users=True) as (away, place, provider):
        back = await away.answer(await away.leave())
        async with httpx2.AsyncClient(timeout=60) as browser:
            stranger = await Person(browser, place.url).open(back)
            assert BEGIN_ANEW in stranger.text
        assert BEGIN_ANEW in (await away.alice.open(back)).text, "the stranger used it up"
        assert BEGIN_ANEW in (await away.alice.open("/oauth/callback?state=x&code=y")).text
        provider.answers = {"iss": "https://evil.example.com"}
        assert "did not sign you in" in (await away.come_back()).text
        provider.answers = {"code": "made-up"}
        assert "does not say who you are" in (await away.come_back()).text
        provider.answers = {}
        assert "You are signed in as" in (await away.come_back()).text
        refused = await away.alice.open("/oauth/sign-in/elsewhere?provider=7&form=x")
        assert BEGIN_ANEW in refused.text


async def test_a_slow_redis_turns_nobody_back(database, redis_url):
    """R01: what somebody left behind is there and nowhere else, so it is waited for."""
    async with (
        a_way_elsewhere(database, redis_url, create_users=True) as (away, place, _),
        Redis.from_url(redis_url) as redis,
    ):
        page = await away.alice.open(place.client.asking())
        await redis.client_pause(300)
        await away.alice.open(page.links[0])
        assert away.alice.away is not None
        back = await away.answer(away.alice.away)
        await redis.client_pause(300)
        assert "You are signed in as" in (await away.alice.open(back)).text


async def test_a_person_who_turns_back_at_the_provider_can_go_another_way(database, redis_url):
    async with a_way_elsewhere(database, redis_url) as (away, place, _):
        state = dict(httpx2.URL(await away.leave()).params)["state"]
        page = await away.alice.open(f"/oauth/callback?error=access_denied&state={state}")
        assert "Example &amp; Co did not sign you in" in page.answer.text
        assert (
            "Let A desktop client"
            in (await place.alice.sign_in(page, "alice", "correct horse battery staple")).text
        )


async def test_what_the_id_token_leaves_out_is_asked_for_where_the_provider_tells_it(database, redis_url):
    """A03: of the same person only; what the ID token says itself is believed, and an address only with its own verification."""
    async with a_way_elsewhere(database, redis_url, create_users=True) as (away, place, provider):
        told = {"sub": "ann", "preferred_username": "ann.lee", "groups": ["devs"]}
        provider.userinfo = {**told, "email": "Ann@example.com", "email_verified": True}
        assert "You are signed in as ann.lee" in (await away.come_anew(email_verified=False)).text
        assert users_of(database) == [("ann.lee", "ann@example.com", ["developer"])]
        told_once = provider.told
        not_asked = {"groups": [], "email": "ann@example.com", "email_verified": True}
        assert "You are signed in as" in (await away.come_anew(**not_asked)).text
        assert (told_once, provider.told) == (1, 1)
        assert users_of(database) == [("ann.lee", "ann@example.com", [])]
        for wrong in ({**told, "sub": "bob"}, {}, [told], TOO_LARGE, SIGNED, *REFUSED):
            provider.userinfo = wrong
            assert "cannot be believed" in (await away.come_anew()).text, wrong
        for silent in (Response(status_code=502), RedirectResponse(f"{place.url}/api/v1/me")):
            provider.userinfo = silent
            assert (await away.come_anew()).answer.status_code == 503, silent
        provider.userinfo = {"sub": "eve", "groups": ["devs"], "email_verified": True}
        await away.come_anew(sub="eve", email="ann@example.net")
        only_address = {"sub": "fay", "preferred_username": "fay", "groups": []}
        provider.userinfo = {"sub": "eve", "email": "fay@example.com"}
        assert "cannot be believed" in (await away.come_anew(**only_address)).text
        for unread in (SIGNED, [told], *REFUSED, Response(status_code=502)):
            provider.userinfo = unread
            assert "You are signed in as fay" in (await away.come_anew(**only_address)).text, unread
    assert users_of(database)[1:] == [("ann", None, ["developer"]), ("fay", None, [])]


async def test_a_provider_that_is_silent_once_makes_no_stranger_of_who_is_expected(database, redis_url):
    """A03: nor of anybody else who was never here; the identity would be the new user's for good."""
    async with a_way_elsewhere(database, redis_url, create_users=True) as (away, place, provider):
        owner = {"X-API-Key": await new_key(database.owner_url)}
        expected = {"username": "fay", "name": "Fay", "email": "fay@example.com"}
        async with httpx2.AsyncClient(base_url=place.url, headers=owner, timeout=60) as admin:
            (await admin.post("/api/v1/users", json=expected)).raise_for_status()
        lacks_address = {"sub": "f-1", "preferred_username": "new", "groups": []}
        provider.userinfo = Response(status_code=503)
        assert (await away.come_anew(**lacks_address)).answer.status_code == 503
        assert [name for name, *_ in users_of(database)] == ["fay"]
        provider.userinfo = {"sub": "f-1", "email": "fay@example.com", "email_verified": True}
        assert "You are signed in as fay" in (await away.come_anew(**lacks_address)).text
        provider.userinfo = Response(status_code=503)
        assert "You are signed in as fay" in (await away.come_anew(**lacks_address)).text


async def test_roles_within_another_claim_are_found_though_the_id_token_has_a_part_of_it(database, redis_url):
    """A03: the ID token's own word counts where both say one."""
    claim = {"roles_claim": "resource_access.app.roles"}
    async with a_way_elsewhere(database, redis_url, create_users=True, **claim) as (away, _, provider):
        provider.person = {
            "sub": "ann",
            "resource_access": {"app": {"of": "ann"}, "account": {"roles": ["x"]}},
        }
        provider.userinfo = {"sub": "ann", "resource_access": {"app": {"roles": ["devs"]}}}
        assert "You are signed in as" in (await away.come_back()).text
        provider.userinfo |= {"sub": "bob"}
        roles = {"app": {"roles": []}}
        assert "You are signed in as" in (await away.come_anew(sub="bob", resource_access=roles)).text
    assert [roles for *_, roles in users_of(database)] == [["developer"], []]


class Begun:
    """What a person who is signed in has begun: a session, a code that is not exchanged yet, and a device that may ask for tokens."""

    def __init__(self, place: Place, person: Person) -> None:
        self._place, self._person = place, person
        self.device = Device(place, person)

    async def _code(self) -> str:
        asked = await self._person.open(self._place.client.asking(resource=self._place.url))
        await self._person.submit(asked, decision="allow")
        return self._person.answered()["code"]

    async def begin(self) -> None:
        self.tokens = (await self._place.client.exchange(await self._code())).json()
        self.code = await self._code()
        await self.device.begin()
        await self.device.connect("allow")

    async def answers(self) -> list[int]:
        """How each is answered now."""
        http, url = self._place.client.http, self._place.url
        bearer = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        answers = [
            await http.get(f"{url}/api/v1/me", headers=bearer),
            await self._place.client.refresh(self.tokens["refresh_token"]),
            await self._place.client.exchange(self.code),
            await self.device.poll(),
        ]
        return [answer.status_code for answer in answers]


async def test_who_signs_in_by_an_identity_has_begun_nothing_that_outlasts_its_link(database, redis_url):
    """A10: also when the same identity is linked anew; what was begun by the password stays."""
    async with a_way_elsewhere(database, redis_url) as (away, place, provider):
        owner = {"X-API-Key": await new_key(database.owner_url)}
        async with (
            httpx2.AsyncClient(base_url=place.url, headers=owner, timeout=60) as admin,
            httpx2.AsyncClient(timeout=60) as another,
        ):
            users = (await admin.get("/api/v1/users")).json()["items"]
            links = f"/api/v1/users/{users[0]['id']}/identities"
            identity = {"issuer": provider.issuer, "subject": "ann"}
            link = (await admin.post(links, json=identity)).json()["id"]
            assert "You are signed in as alice" in (await away.come_back()).text
            by_password = Person(another, place.url)
            asked = await by_password.open(place.client.asking())
            await by_password.sign_in(asked, "alice", PASSWORD)
            outside, inside = Begun(place, away.alice), Begun(place, by_password)
            await outside.begin()
            await inside.begin()
            await admin.delete(f"{links}/{link}")
            asked_again = await away.alice.open(place.client.asking())
            still_in = await by_password.open(place.client.asking())
            await admin.post(links, json=identity)
            and_again = await away.alice.open(place.client.asking())
            assert await outside.answers() == [401, 400, 400, 400]
            assert await inside.answers() == [200, 200, 200, 200]
    assert "Sign in with Example & Co" in asked_again.text
    assert "Sign in with Example & Co" in and_again.text
    assert "You are signed in as alice" in still_in.text

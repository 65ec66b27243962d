"""Signing in and out over REST, and what the tokens open at both services (cases A03, A10, A13, L05, T02)."""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx2
import jwt
import pytest
import websockets

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import open_database
from support.agents import HANDSHAKE, STATELESS, agent
from support.rest import Rest
from support.services import MCP_URL, REST_URL, new_key, running_mcp, running_rest, settings_for
from support.tenants import add_tenant

PASSWORD = "correct horse battery staple"
EFFECT_WITHIN_S = 5.0 + 25.0
"""Five seconds, and what a machine that is shared may add."""
LOGIN, LOGOUT, REFRESH = "/api/v1/login", "/api/v1/logout", "/api/v1/login/refresh"
SESSIONS, ME, USERS = "/api/v1/sessions", "/api/v1/me", "/api/v1/users"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


class Front:
    """rest-api with a user for each name, and callers by whatever credential."""

    def __init__(self, http: httpx2.AsyncClient, key: str) -> None:
        self._rest = Rest(http)
        self._key = key
        self.users: dict[str, str] = {}

    async def __call__(self, method: str, path: str, *, by: str | None = None, json=None) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {by}"} if by else {}
        return await self._rest(method, path, headers=headers, json=json)

    async def add(self, name: str, *roles: str) -> None:
        body = {"username": name, "name": name, "roles": roles, "password": PASSWORD}
        self.users[name] = (await self("POST", USERS, by=self._key, json=body)).json()["id"]

    async def root(self, method: str, path: str, json=None) -> httpx2.Response:
        return await self(method, path, by=self._key, json=json)

    async def login(self, name: str, **more) -> dict:
        answer = await self("POST", LOGIN, json={"username": name, "password": PASSWORD, **more})
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()


@asynccontextmanager
async def a_front(database, settings):
    key = await new_key(database.owner_url)
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        front = Front(http, key)
        await front.add("alice", "developer")
        yield front


async def until_refused(ask) -> float:
    started = time.monotonic()
    while (await ask()).status_code != 401:
        assert time.monotonic() - started < EFFECT_WITHIN_S * 4
        await asyncio.sleep(0.1)
    return time.monotonic() - started


async def test_a_person_signs_in_goes_on_and_signs_out(database, settings):
    """A13, L05"""
    async with a_front(database, settings) as front:
        pair = await front.login("alice", client_name="laptop")
        me = (await front("GET", ME, by=pair["access_token"])).json()
        assert (me["id"], me["user_id"], me["limits"]) == (front.users["alice"], front.users["alice"], [])
        assert (pair["expires_in"], pair["token_type"], pair["scope"]) == (600, "Bearer", "*")
        jwks = (await front("GET", "/.well-known/jwks.json")).json()
        verified = jwt.PyJWKSet.from_dict(jwks)[jwt.get_unverified_header(pair["access_token"])["kid"]]
        claims = jwt.decode(pair["access_token"], verified.key, algorithms=["ES256"], audience=REST_URL)
        assert (claims["iss"], claims["sub"]) == (REST_URL, front.users["alice"])

        refreshed = await front("POST", REFRESH, json={"refresh_token": pair["refresh_token"]})
        token = refreshed.json()["access_token"]
        [shown] = (await front("GET", SESSIONS, by=token)).json()["items"]
        assert (shown["id"], shown["client_name"], shown["current"]) == (pair["session_id"], "laptop", True)
        assert "token" not in str(shown)
        assert "hash" not in str(shown)

        out = {"refresh_token": refreshed.json()["refresh_token"]}
        assert (await front("POST", LOGOUT, json=out)).status_code == 204
        assert (await front("POST", REFRESH, json=out)).status_code == 401
        assert (await front("POST", LOGOUT, json=out)).status_code == 204
        assert await until_refused(lambda: front("GET", ME, by=token)) < EFFECT_WITHIN_S
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        opened.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        said = [(record.action, record.outcome) for record in reversed(await tx.audit.latest(20))]
    assert said[-3:] == [("login.password", "ok"), ("sessions.begin", "ok"), ("sessions.end", "ok")]


async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(database, settings):
    """A10: in words and headers; that they take the same time is shown where passwords are."""
    async with a_front(database, settings) as front:
        answers = [
            await front("POST", LOGIN, json={"username": name, "password": password})
            for name, password in [
                ("alice", PASSWORD + "!"),
                ("nobody", PASSWORD),
                ("no-such-tenant/alice", PASSWORD),
            ]
        ]
        said = {(a.status_code, a.json()["detail"], a.headers["www-authenticate"]) for a in answers}
        assert said == {(401, "the username or the password is not right", "Bearer")}
        for body in ({"username": "alice"}, {"username": "alice", "password": PASSWORD, "scopes": ["n o"]}):
            assert (await front("POST", LOGIN, json=body)).status_code == 422


async def test_a_token_opens_the_service_that_it_was_made_for_within_its_scopes(
    database, settings, redis_url
):
    """A03, A09, T02: the token decides, whatever else a request says."""
    async with (
        a_front(database, settings) as front,
        running_mcp(settings_for(database.mcp_url, redis_url)) as mcp_url,
        httpx2.AsyncClient(base_url=mcp_url, timeout=60) as mcp,
    ):
        for_rest = (await front.login("alice", scopes=["search:read"]))["access_token"]
        scopes = ["tools:read:context_*"]
        for_mcp = (await front.login("alice", audience="mcp-server", scopes=scopes))["access_token"]
        assert jwt.decode(for_mcp, options={"verify_signature": False})["aud"] == MCP_URL
        assert (await front("GET", "/api/v1/contexts", by=for_rest)).status_code == 403
        assert (await front("GET", ME, by=for_mcp)).status_code == 401
        for transport, era in (
            ("http", STATELESS),
            ("http", HANDSHAKE),
            ("ws", STATELESS),
            ("ws", HANDSHAKE),
        ):
            async with agent(transport, mcp_url, for_mcp, era) as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
            assert "context_get" in names
            assert not names & {"context_create", "event_list"}
        elsewhere = {"Authorization": f"Bearer {for_rest}"}
        for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/ws/tickets")):
            assert (await mcp.request(method, path, headers=elsewhere)).status_code == 401


async def test_revoking_a_session_ends_its_open_websocket(database, settings, redis_url):
    async with (
        a_front(database, settings) as front,
        running_mcp(settings_for(database.mcp_url, redis_url)) as mcp_url,
    ):
        pair = await front.login("alice", audience="mcp-server")
        address = mcp_url.replace("http", "ws") + "/ws"
        headers = {"Authorization": f"Bearer {pair['access_token']}"}
        async with websockets.connect(address, additional_headers=headers, subprotocols=["mcp"]) as socket:
            ended = await front.root("DELETE", f"{SESSIONS}/{pair['session_id']}")
            assert ended.status_code == 204
            started = time.monotonic()
            async with asyncio.timeout(EFFECT_WITHIN_S * 4):
                await socket.wait_closed()
            assert time.monotonic() - started < EFFECT_WITHIN_S
            assert socket.close_code == 4401


async def test_people_end_their_own_sessions_and_admins_those_of_all(database, settings):
    async with a_front(database, settings) as front:
        await front.add("bob", "viewer")
        await front.add("ann", "admin")
        alice, again, bob, ann = [await front.login(name) for name in ("alice", "alice", "bob", "ann")]
        tokens = [pair["access_token"] for pair in (alice, again, bob, ann)]

        async def seen(token: str, of: str | None = None) -> set[str]:
            path = SESSIONS if of is None else f"{SESSIONS}?user_id={front.users[of]}"
            answer = await front("GET", path, by=token)
            return {one["id"] for one in answer.json()["items"]}

        assert await seen(tokens[0]) == {alice["session_id"], again["session_id"]}
        assert await seen(tokens[3]) == {pair["session_id"] for pair in (alice, again, bob, ann)}
        assert await seen(tokens[3], "bob") == await seen(tokens[2], "bob") == {bob["session_id"]}
        assert await seen(tokens[2], "alice") == set()
        others = await front("DELETE", f"{SESSIONS}/{alice['session_id']}", by=tokens[2])
        absent = await front("DELETE", f"{SESSIONS}/{new_id()}", by=tokens[2])
        assert (others.status_code, absent.status_code) == (404, 404)
        theirs = {"user_id": front.users["alice"]}
        assert (await front("POST", f"{SESSIONS}/revoke", by=tokens[2], json=theirs)).status_code == 403
        assert (await front("DELETE", f"{SESSIONS}/{again['session_id']}", by=tokens[0])).status_code == 204
        ended = await front("POST", f"{SESSIONS}/revoke", by=tokens[3], json=theirs)
        assert ended.json() == {"revoked": 1}
        assert (await front("POST", f"{SESSIONS}/revoke", by=tokens[2], json={})).json() == {"revoked": 1}
        assert await seen(tokens[3]) == {ann["session_id"]}
        nobody = {"user_id": str(new_id())}
        assert (await front("POST", f"{SESSIONS}/revoke", by=tokens[3], json=nobody)).status_code == 404


async def test_another_password_ends_the_sessions_that_the_old_one_began(database, settings):
    async with a_front(database, settings) as front:
        mine, other = await front.login("alice"), await front.login("alice")
        change = {"current_password": PASSWORD, "password": PASSWORD + "!"}
        changed = await front("PUT", f"{ME}/password", by=mine["access_token"], json=change)
        assert changed.status_code == 204
        again = [
            await front("POST", REFRESH, json={"refresh_token": p["refresh_token"]}) for p in (mine, other)
        ]
        assert [answer.status_code for answer in again] == [200, 401]
        path = f"{USERS}/{front.users['alice']}/password"
        assert (await front.root("PUT", path, json={"password": PASSWORD})).status_code == 204
        last = {"refresh_token": again[0].json()["refresh_token"]}
        assert (await front("POST", REFRESH, json=last)).status_code == 401


async def test_a_session_is_of_its_tenant(database, settings):
    """T01, T02"""
    add_tenant(database, other := new_id())
    stranger = await new_key(database.owner_url, tenant_id=other)
    async with a_front(database, settings) as front:
        pair = await front.login("alice")
        gone = await front("DELETE", f"{SESSIONS}/{pair['session_id']}", by=stranger)
        assert gone.status_code == 404
        assert (await front("GET", SESSIONS, by=stranger)).json()["items"] == []
        assert (await front("GET", ME, by=pair["access_token"])).json()["tenant_id"] == str(DEFAULT_TENANT_ID)

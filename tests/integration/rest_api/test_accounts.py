"""Users, roles, API keys and tenants over REST, as people and their programs use them."""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx2
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.permissions import PERMISSIONS
from support.rest import Rest, a_caller
from support.services import new_key, running_mcp, running_rest, settings_for
from support.tenants import add_tenant

MERGE = {"Content-Type": "application/merge-patch+json"}
PASSWORD = "correct horse battery staple"
EFFECT_WITHIN_S = 5.0 + 25.0
"""Five seconds, and what a machine that is shared may add."""
USERS, KEYS, ROLES, TENANTS, ME = (
    f"/api/v1/{name}" for name in ("users", "api-keys", "roles", "tenants", "me")
)


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, basic_authentication=True)


@asynccontextmanager
async def a_front(database, settings):
    """rest-api, and a function that makes a caller of a credential."""
    key = await new_key(database.owner_url)
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:

        def caller(credential=key) -> Rest:
            if isinstance(credential, tuple):
                return Rest(Basic(http, credential))
            return Rest(Keyed(http, credential))

        yield caller


class Keyed:
    def __init__(self, http, key) -> None:
        self._http, self._headers, self._auth = http, {"X-API-Key": key}, None

    async def request(self, method, path, *, headers=None, **options):
        headers = self._headers | (headers or {})
        return await self._http.request(method, path, headers=headers, auth=self._auth, **options)


class Basic(Keyed):
    def __init__(self, http, credential) -> None:
        self._http, self._headers, self._auth = http, {}, credential


def another_tenant(database):
    tenant = new_id()
    add_tenant(database, tenant)
    return tenant


def a_user(username: str, *roles: str, **more) -> dict:
    return {"username": username, "name": username, "roles": roles, "password": PASSWORD, **more}


async def until(ask, expected: int) -> float:
    """Ask until the answer has this status; return how long that took."""
    started = time.monotonic()
    while (answer := await ask()).status_code != expected:
        assert time.monotonic() - started < EFFECT_WITHIN_S * 4, answer.text
        await asyncio.sleep(0.1)
    return time.monotonic() - started


async def test_a_person_comes_in_with_a_password_and_makes_a_key_of_its_own(database, settings):
    async with a_front(database, settings) as caller:
        root, alice = caller(), caller(("alice", PASSWORD))
        created = await root("POST", USERS, json=a_user("alice", "developer"))
        assert created.status_code == 201
        assert "password" not in created.text.replace("has_password", "")
        me = (await alice("GET", ME)).json()
        made = await alice("POST", KEYS, json={"name": "laptop", "roles": ["viewer"], "personal": True})
        laptop = caller(made.json()["key"])
        hers = (await laptop("GET", ME)).json()
        changed = await laptop(
            "PUT", f"{ME}/password", json={"current_password": PASSWORD, "password": PASSWORD + "!"}
        )
        refused = await alice(
            "PUT", f"{ME}/password", json={"current_password": "wrong", "password": PASSWORD + "?"}
        )
        assert (await caller(("alice", PASSWORD + "!"))("GET", ME)).json() == me
        assert await until(lambda: alice("GET", ME), 401) < EFFECT_WITHIN_S
    assert (me["id"], me["user_id"]) == (created.json()["id"], created.json()["id"])
    assert (hers["user_id"], hers["limits"]) == (me["id"], [me["grants"]])
    assert (changed.status_code, refused.status_code) == (204, 403)


async def test_a_role_and_a_suspension_count_within_five_seconds(database, settings):
    async with a_front(database, settings) as caller:
        root, alice = caller(), caller(("alice", PASSWORD))
        await root("POST", ROLES, json={"name": "reader", "grants": ["users:read"]})
        user = (await root("POST", USERS, json=a_user("alice", "reader"))).json()
        one = f"{USERS}/{user['id']}"
        assert (await alice("GET", USERS)).status_code == 200
        await root("PUT", f"{ROLES}/reader", json={"grants": ["roles:read"]})
        assert await until(lambda: alice("GET", USERS), 403) < EFFECT_WITHIN_S
        assert (await alice("GET", ROLES)).status_code == 200
        draft = {"username": "alice", "name": "Alice", "roles": ["reader"], "status": "suspended"}
        assert (await root("PUT", one, json=draft)).json()["status"] == "suspended"
        assert await until(lambda: alice("GET", ROLES), 401) < EFFECT_WITHIN_S
        listed = (await root("GET", USERS)).json()
        assert [found["username"] for found in listed["items"]] == ["alice"]
        assert (await root("DELETE", f"{ROLES}/reader")).status_code == 409
        assert (await root("DELETE", one)).status_code == 204
        assert (await root("DELETE", f"{ROLES}/reader")).status_code == 204
        assert (await root("GET", one)).status_code == 404


async def test_a_key_is_rotated_under_its_id_and_ends_when_it_is_revoked(database, settings):
    async with a_front(database, settings) as caller:
        root = caller()
        draft = {"name": "ci", "roles": ["viewer"], "toolsets": ["github"]}
        made = (await root("POST", KEYS, json=draft)).json()
        one = f"{KEYS}/{made['id']}"
        rotated = (await root("POST", f"{one}/rotate", json={"grace_minutes": 5})).json()
        for key in (made["key"], rotated["key"]):
            assert (await caller(key)("GET", ME)).json()["id"] == made["id"]
        shown = await root("GET", one)
        assert "key" not in shown.json()
        assert shown.json()["toolsets"] == ["github"]
        assert (await root("DELETE", one)).status_code == 204
        for key in (made["key"], rotated["key"]):
            assert await until(lambda key=key: caller(key)("GET", ME), 401) < EFFECT_WITHIN_S
        assert (await root("POST", f"{one}/rotate")).status_code == 409
        past = await root("POST", KEYS, json={"name": "x", "expires_at": "2020-01-01T00:00:00Z"})
        assert past.status_code == 422


async def test_a_key_is_not_given_a_toolset_that_there_is_not(database, settings):
    """One that it has already may have gone with its adapter."""
    key_id = new_id()
    await new_key(database.owner_url, id=key_id, toolsets=("gone",))
    async with a_caller(database, settings) as rest:
        made = await rest("POST", KEYS, json={"name": "x", "toolsets": ["github", "gihub"]})
        one = f"{KEYS}/{key_id}"
        kept = await rest("PATCH", one, json={"name": "renamed"}, headers=MERGE)
        changed = await rest("PATCH", one, json={"toolsets": ["gone", "gihub"]}, headers=MERGE)
    assert [answer.status_code for answer in (made, kept, changed)] == [422, 200, 422]
    for refused in (made, changed):
        assert "toolsets: there is no toolset 'gihub'; there are" in refused.json()["detail"]


async def test_a_key_is_given_other_rights_and_keeps_its_secret(database, settings):
    """T01, L05: within the rights of who changes it, and never over somebody else's change."""
    async with a_caller(database, settings) as rest:
        made = (await rest("POST", KEYS, json={"name": "ci", "roles": ["viewer"]})).json()
        one, itself = f"{KEYS}/{made['id']}", {"X-API-Key": made["key"]}
        admin = {"X-API-Key": await new_key(database.owner_url, "prompts:read:none", roles=("admin",))}
        stranger = {"X-API-Key": await new_key(database.owner_url, tenant_id=another_tenant(database))}
        seen = (await rest("GET", one)).headers["etag"]
        patch = {"roles": ["admin"], "expires_at": "2099-01-01T00:00:00Z"}
        grown = await rest("PATCH", one, json=patch, headers={**MERGE, "If-Match": seen})
        late = [
            await rest("PUT", one, json={"name": "late"}, headers={"If-Match": seen}),
            await rest("DELETE", one, headers={"If-Match": seen}),
        ]
        await until(lambda: rest("GET", USERS, headers=itself), 200)
        refused = [
            await rest("PUT", one, json={"name": "x"}, headers=stranger),
            await rest("PUT", one, json={"name": "x", "grants": ["*"]}, headers=admin),
            await rest("PUT", one, json={"name": "x", "grants": ["*"]}, headers=itself),
            await rest("PUT", one, json={"name": "x", "roles": ["none"]}),
            await rest("PUT", one, json={"name": "x", "expires_at": "2020-01-01T00:00:00Z"}),
            await rest("PUT", one, json={"name": "x", "kind": "user"}),
        ]
        shrunk = await rest("PUT", one, json={"name": "ci", "grants": ["search:read"]}, headers=itself)
        await until(lambda: rest("GET", USERS, headers=itself), 403)
        await rest("DELETE", one, headers={"If-Match": shrunk.headers["etag"]})
        revoked = await rest("PATCH", one, json={"name": "x"}, headers=MERGE)
        audit = (await rest("GET", "/api/v1/audit?action=api_keys.update")).json()["items"]
    assert grown.status_code == 200
    assert (grown.json()["name"], grown.json()["roles"], grown.json()["prefix"]) == (
        "ci",
        ["admin"],
        made["prefix"],
    )
    assert [answer.status_code for answer in late] == [412, 412]
    assert [answer.status_code for answer in refused] == [404, 403, 403, 422, 422, 422]
    assert (shrunk.status_code, shrunk.json()["expires_at"]) == (200, None)
    assert revoked.status_code == 409
    assert [record["outcome"] for record in audit].count("ok") == 2


async def test_an_open_websocket_ends_with_the_user_behind_its_key(database, settings, redis_url):
    import websockets

    mcp = settings_for(database.mcp_url, redis_url)
    async with a_front(database, settings) as caller, running_mcp(mcp) as mcp_url:
        root = caller()
        user = (await root("POST", USERS, json=a_user("alice", "developer"))).json()
        made = await caller(("alice", PASSWORD))(
            "POST", KEYS, json={"name": "agent", "roles": ["agent"], "personal": True}
        )
        headers = {"X-API-Key": made.json()["key"]}
        address = mcp_url.replace("http", "ws") + "/ws"
        async with websockets.connect(address, additional_headers=headers, subprotocols=["mcp"]) as socket:
            assert (await root("DELETE", f"{USERS}/{user['id']}")).status_code == 204
            started = time.monotonic()
            async with asyncio.timeout(EFFECT_WITHIN_S * 4):
                await socket.wait_closed()
            assert time.monotonic() - started < EFFECT_WITHIN_S
            assert socket.close_code == 4401


async def test_the_operator_makes_and_suspends_tenants_and_nobody_else_does(database, settings):
    """T02: in their own tenant an owner may everything, and nothing across."""
    async with a_front(database, settings) as caller:
        root = caller()
        owner = {"username": "zoe", "name": "Zoe", "password": PASSWORD}
        new = {"name": "Acme", "slug": "acme", "owner": owner}
        acme = (await root("POST", TENANTS, json=new)).json()
        assert (await root("POST", TENANTS, json=new)).status_code == 409
        zoe = caller(("acme/zoe", PASSWORD))
        assert (await zoe("GET", f"{TENANTS}/current")).json()["id"] == acme["id"]
        assert (await zoe("PUT", f"{TENANTS}/current", json={"name": "Acme Inc"})).json()[
            "name"
        ] == "Acme Inc"
        grown = await zoe("POST", KEYS, json={"name": "mine", "grants": ["*", "platform:*"]})
        assert grown.status_code == 403
        mighty = caller((await zoe("POST", KEYS, json={"name": "mine", "grants": ["*"]})).json()["key"])
        for caller_of_acme in (zoe, mighty):
            for method, path, body in (
                ("GET", TENANTS, None),
                ("POST", TENANTS, new),
                ("GET", f"{TENANTS}/{DEFAULT_TENANT_ID}", None),
                ("PUT", f"{TENANTS}/{DEFAULT_TENANT_ID}", {"name": "mine"}),
                ("POST", f"{TENANTS}/{DEFAULT_TENANT_ID}/suspend", None),
            ):
                assert (await caller_of_acme(method, path, json=body)).status_code == 403
        listed = (await root("GET", TENANTS)).json()["items"]
        assert [(one["slug"], one["name"]) for one in listed] == [
            ("default", "default"),
            ("acme", "Acme Inc"),
        ]
        one = f"{TENANTS}/{acme['id']}"
        seen = {"If-Match": (await root("GET", one)).headers["etag"]}
        renamed = await root("PUT", one, json={"name": "Acme plc"}, headers=seen)
        behind = await root("PUT", one, json={"name": "Acme GmbH"}, headers=seen)
        patched = await root(
            "PATCH", one, content='{"name": "Acme"}', headers={"Content-Type": "application/merge-patch+json"}
        )
        assert [answer.status_code for answer in (renamed, behind, patched)] == [200, 412, 200]
        assert (await zoe("GET", f"{TENANTS}/current")).json() == {**acme, "name": "Acme"}
        assert (await root("PUT", f"{TENANTS}/{new_id()}", json={"name": "x"})).status_code == 404
        suspended = await root("POST", f"{TENANTS}/{acme['id']}/suspend")
        assert suspended.json()["status"] == "suspended"
        for out in (zoe, mighty):
            assert await until(lambda out=out: out("GET", ME), 401) < EFFECT_WITHIN_S
        await root("POST", f"{TENANTS}/{acme['id']}/resume")
        assert await until(lambda: zoe("GET", ME), 200) < EFFECT_WITHIN_S
        assert (await root("POST", f"{TENANTS}/{DEFAULT_TENANT_ID}/suspend")).status_code == 409
        assert (await root("GET", f"{TENANTS}/{new_id()}")).status_code == 404


async def test_basic_credentials_are_taken_only_where_switched_on_and_guessing_ends(
    database, redis_url, settings
):
    async with a_caller(database, settings) as root:
        await root("POST", USERS, json=a_user("alice", "viewer"))
        answers = [
            (
                await root.http.request("GET", ME, auth=("alice", "wrong"), headers={"X-API-Key": ""})
            ).status_code
            for _ in range(12)
        ]
    assert answers == [401] * 10 + [429] * 2
    off = settings_for(database.app_url, redis_url)
    async with running_rest(off) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        assert (await http.get(ME, auth=("alice", PASSWORD))).status_code == 401
        for wrong in ("Basic", "Basic !", "Basic YWJj", "basic /////w=="):
            assert (await http.get(ME, headers={"Authorization": wrong})).status_code == 401


async def test_the_permissions_and_the_built_in_roles_are_there_to_read(database, settings):
    async with a_caller(database, settings, "roles:read") as rest:
        permissions = (await rest("GET", "/api/v1/permissions")).json()["items"]
        roles = (await rest("GET", ROLES)).json()["items"]
        fixed = await rest("PUT", f"{ROLES}/owner", json={"grants": ["*"]})
    assert len(permissions) == len(PERMISSIONS)
    assert [role["name"] for role in roles] == ["admin", "agent", "developer", "operator", "owner", "viewer"]
    assert fixed.status_code == 403


async def test_anothers_accounts_are_answered_like_ones_that_do_not_exist(database, settings):
    """T01, I9"""
    other = new_id()
    add_tenant(database, other)
    theirs = await new_key(database.owner_url, tenant_id=other)
    async with a_front(database, settings) as caller:
        root, stranger = caller(), caller(theirs)
        user = (await root("POST", USERS, json=a_user("alice"))).json()["id"]
        key = (await root("POST", KEYS, json={"name": "ci"})).json()["id"]
        await root("POST", ROLES, json={"name": "reader", "grants": ["users:read"]})
        draft = {"username": "x", "name": "x"}
        for path, absent in (
            (f"{USERS}/{user}", f"{USERS}/{new_id()}"),
            (f"{KEYS}/{key}", f"{KEYS}/{new_id()}"),
        ):
            for method in ("GET", "DELETE", "PUT"):
                if method == "PUT" and path.startswith(KEYS):
                    continue
                body = draft if method == "PUT" else None
                said = []
                for tried in (path, absent):
                    answer = await stranger(method, tried, json=body)
                    said.append(
                        (answer.status_code, answer.json()["detail"].replace(tried.rpartition("/")[2], "ID"))
                    )
                assert said[0] == said[1]
                assert said[0][0] == 404
        assert (await stranger("GET", f"{ROLES}/reader")).status_code == 404
        for path in (USERS, ROLES):
            assert "alice" not in (await stranger("GET", path)).text

"""Integrations that tenants make over REST, in the services that then use them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
import psycopg
import pytest

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.errors import ConfigurationError
from devops_mcp.models.ids import new_id
from devops_mcp.operations.secret_rotation import SecretRotation
from devops_mcp.repositories.database import open_database
from support.addresses import FORBIDDEN
from support.agents import STATELESS, agent
from support.github_webhooks import failed_run, signed
from support.prometheus_fake import PrometheusFake
from support.rest import Rest
from support.servers import serve
from support.services import new_key, running_mcp, running_rest, settings_for
from support.tenants import add_tenant

ALL, OWN = "/api/v1/integrations", "/api/v1/me/credentials"
SERVICE, ALICES = "canary-token-of-the-service", "canary-token-of-alice"
EFFECT_WITHIN_S = 5.0 + 25.0
"""Five seconds, and what a machine that is shared may add."""


class Upstream:
    """A Prometheus that keeps what it was shown."""

    def __init__(self) -> None:
        self._app = PrometheusFake().app
        self.shown: list[str] = []
        self.url = ""

    async def __call__(self, scope, receive, send) -> None:
        headers = dict(scope["headers"])
        self.shown.append(headers.get(b"authorization", b"").decode())
        await self._app(scope, receive, send)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    stand_in = Upstream()
    async with serve(stand_in) as url:
        stand_in.url = url
        yield stand_in


@pytest.fixture
def settings(database, redis_url):
    configured = {
        "name": "of-the-operator",
        "system": "prometheus",
        "options": {"base_url": "http://127.0.0.1:9"},
    }
    return settings_for(database.app_url, redis_url, [configured], basic_authentication=True)


class With:
    """A client with credentials of its own."""

    def __init__(self, http, *, headers=None, **options) -> None:
        self._http, self._headers, self._options = http, headers or {}, options

    async def request(self, method, path, *, headers=None, **options):
        given = {**self._headers, **(headers or {})}
        return await self._http.request(method, path, headers=given, **self._options, **options)


@asynccontextmanager
async def a_front(database, settings):
    """rest-api, and a function that makes a caller with some grants; without any, one that may do everything."""
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=30) as http:

        async def caller(*grants: str, **changes) -> Rest:
            key = await new_key(database.owner_url, *grants, **changes)
            return Rest(With(http, headers={"X-API-Key": key}))

        caller.http = http
        yield caller


def metrics(upstream: Upstream, name: str = "metrics", **changes) -> dict:
    return {
        "name": name,
        "system": "prometheus",
        "options": {"base_url": upstream.url},
        "credentials": {"bearer_token": SERVICE},
    } | changes


def redrafted(body: dict, **changes) -> dict:
    return {name: value for name, value in (body | changes).items() if name not in ("name", "system")}


async def query(rest: Rest, target: str = "metrics") -> httpx2.Response:
    arguments = {"query": "up", "target": target}
    return await rest("POST", "/api/v1/tools/prometheus_query/call", json={"arguments": arguments})


def audited(database, action: str) -> list[dict]:
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute(
            "SELECT arguments FROM audit_log WHERE action LIKE %s ORDER BY id", (action,)
        ).fetchall()
    return [row for (row,) in rows]


async def recorded(database, action: str, count: int) -> list[dict]:
    """Records of calls are written a moment later."""
    async with asyncio.timeout(30):
        while len(found := audited(database, action)) < count:
            await asyncio.sleep(0.05)
    return found


def everything_stored(database) -> str:
    with psycopg.connect(database.superuser_url) as connection:
        tables = ("integrations", "personal_credentials", "audit_log")
        rows = [connection.execute(f"SELECT t::text FROM {name} AS t").fetchall() for name in tables]
        raw = connection.execute("SELECT sealed FROM integrations").fetchall()
    return repr((rows, raw))


async def test_an_integration_is_made_used_changed_and_deleted_and_never_shows_its_credentials(
    database, settings, upstream
):
    """K01, L05"""
    async with a_front(database, settings) as caller:
        rest = await caller()
        made = await rest("POST", ALL, json=metrics(upstream))
        assert made.status_code == 201, made.text
        assert made.json()["credentials"] == ["bearer_token"]
        tested = await rest("POST", f"{ALL}/metrics/test")
        assert (tested.json()["ok"], tested.json()["acted_as"]) == (True, "service"), tested.text
        assert (await query(rest)).status_code == 200
        assert set(upstream.shown) == {f"Bearer {SERVICE}"}
        draft = redrafted(metrics(upstream), credentials=None, read_only=True)
        changed = await rest("PUT", f"{ALL}/metrics", json=draft)
        assert (changed.json()["version"], changed.json()["credentials"]) == (2, ["bearer_token"])
        assert (await query(rest)).status_code == 200
        assert upstream.shown[-1] == f"Bearer {SERVICE}", "what is left out is kept"
        draft = redrafted(metrics(upstream), credentials={"bearer_token": "canary-another-token"})
        await rest("PUT", f"{ALL}/metrics", json=draft)
        await query(rest)
        assert upstream.shown[-1] == "Bearer canary-another-token"
        shown = [made, changed, await rest("GET", ALL), await rest("GET", f"{ALL}/metrics")]
        assert "canary" not in "".join(answer.text for answer in shown)
        assert (await rest("DELETE", f"{ALL}/metrics")).status_code == 204
        assert (await rest("GET", f"{ALL}/metrics")).status_code == 404
        assert (await query(rest)).status_code == 404
        assert "canary" not in everything_stored(database)
    [update, _] = audited(database, "integrations.update")
    assert (update["before"]["read_only"], update["after"]["read_only"]) == (False, True)
    assert update["before"]["sets"] == ["bearer_token"]
    [call, *_] = await recorded(database, "tool.read", 3)
    assert call["@upstream"] == {"integration": "metrics", "as": "service"}


async def test_it_is_patched_as_it_was_seen_and_made_once_under_a_key(database, settings, upstream):
    """H14"""
    merge = {"Content-Type": "application/merge-patch+json"}
    async with a_front(database, settings) as caller:
        rest = await caller()
        key = {"Idempotency-Key": "the-same"}
        made = [await rest("POST", ALL, json=metrics(upstream), headers=key) for _ in "ab"]
        assert [answer.status_code for answer in made] == [201, 201]
        assert (await query(rest)).status_code == 200, "it is there once it is answered"
        one = f"{ALL}/metrics"
        seen = (await rest("GET", one)).headers["etag"]
        patched = await rest("PATCH", one, json={"read_only": True}, headers=merge | {"If-Match": seen})
        assert (patched.json()["read_only"], patched.json()["credentials"]) == (True, ["bearer_token"])
        late = await rest("PATCH", one, json={"read_only": False}, headers=merge | {"If-Match": seen})
        assert late.status_code == 412
        moved = await rest("PATCH", one, json={"options": {"base_url": "http://127.0.0.1:9"}}, headers=merge)
        assert moved.json()["violations"][0]["where"] == "body.credentials"
        await rest("PATCH", one, json={"credentials": {"bearer_token": "canary-patched"}}, headers=merge)
        await query(rest)
        assert upstream.shown == [f"Bearer {SERVICE}", "Bearer canary-patched"]
        assert "canary" not in everything_stored(database)


async def test_every_system_tells_what_an_integration_of_it_is_told(database, settings):
    async with a_front(database, settings) as caller:
        rest = await caller("prompts:read:none")
        systems = {
            one["name"]: one for one in (await rest("GET", "/api/v1/integration-systems")).json()["items"]
        }
    prometheus = systems["prometheus"]
    assert {"bearer_token", "username", "password", "headers"} == set(
        prometheus["credentials_schema"]["properties"]
    )
    assert prometheus["options_schema"]["required"] == ["base_url"]
    assert "bearer_token" not in prometheus["options_schema"]["properties"]
    assert systems["github"]["webhooks"] is True
    assert systems["fs"]["configurable"] is False


REFUSED = (
    ({"options": {}}, "body.options.base_url"),
    ({"options": {"base_url": "https://example.com", "colour": "red"}}, "body.options.colour"),
    ({"options": {"base_url": "https://example.com", "bearer_token": SERVICE}}, "body.options.bearer_token"),
    ({"credentials": {"base_url": "x"}}, "body.credentials.base_url"),
    ({"credentials": {"bearer_token": SERVICE, "username": "x"}}, "body"),
    ({"credentials": {"headers": {"a b": SERVICE}}}, "body"),
    ({"system": "no-such-system"}, "body.system"),
    ({"system": "fs", "options": {"roots": {"all": "/etc"}}}, "body.system"),
    ({"options": {"base_url": "ftp://example.com"}}, "body.options.base_url"),
    ({"name": "Not A Name"}, "body.name"),
    ({"webhook_secrets": ["short"]}, "body.webhook_secrets.0"),
)


async def test_what_the_systems_settings_do_not_allow_is_refused_by_its_place_and_not_shown(
    database, settings, upstream
):
    """O07"""
    async with a_front(database, settings) as caller:
        rest = await caller()
        for changes, where in REFUSED:
            refused = await rest("POST", ALL, json=metrics(upstream) | changes)
            assert refused.status_code == 422, changes
            named = [violation["where"] for violation in refused.json()["violations"]]
            assert where in named, (changes, refused.text)
            assert "canary" not in refused.text
        assert len((await rest("GET", ALL)).json()["items"]) == 1


async def test_addresses_of_ours_are_refused_when_they_are_saved(database, redis_url):
    """I05, I06"""
    settings = settings_for(database.app_url, redis_url).model_copy(update={"private_networks": ()})
    async with a_front(database, settings) as caller:
        rest = await caller()
        for address in FORBIDDEN:
            host = f"[{address}]" if ":" in address else address
            body = {"name": "x", "system": "prometheus", "options": {"base_url": f"https://{host}/"}}
            assert (await rest("POST", ALL, json=body)).status_code == 422, address
        for url in ("http://example.com", "https://user:word@example.com"):
            body = {"name": "x", "system": "github", "options": {"base_url": url}}
            assert (await rest("POST", ALL, json=body)).status_code == 422, url


async def test_credentials_do_not_follow_an_integration_to_another_address(database, settings, upstream):
    async with a_front(database, settings) as caller, serve(elsewhere := Upstream()) as url:
        rest = await caller()
        await rest("POST", ALL, json=metrics(upstream))
        moved = redrafted(metrics(upstream), options={"base_url": url})
        refused = await rest("PUT", f"{ALL}/metrics", json=moved | {"credentials": None})
        assert refused.status_code == 422
        assert refused.json()["violations"][0]["where"] == "body.credentials"
        given = await rest("PUT", f"{ALL}/metrics", json=moved | {"credentials": {"bearer_token": "another"}})
        assert given.status_code == 200, given.text
        await query(rest)
        assert elsewhere.shown == ["Bearer another"]


async def test_names_are_taken_once_and_what_the_operator_configured_is_read_only(
    database, settings, upstream
):
    async with a_front(database, settings) as caller:
        rest = await caller()
        assert (await rest("POST", ALL, json=metrics(upstream))).status_code == 201
        for name in ("metrics", "of-the-operator", "devops-mcp"):
            assert (await rest("POST", ALL, json=metrics(upstream, name))).status_code == 409, name
        one = f"{ALL}/of-the-operator"
        shown = (await rest("GET", one)).json()
        assert (shown["configured"], shown["options"], shown["version"]) == (True, None, None)
        draft = redrafted(metrics(upstream))
        assert (await rest("PUT", one, json=draft)).status_code == 409
        assert (await rest("DELETE", one)).status_code == 409
        assert (await rest("POST", f"{one}/webhook-secrets", json={})).status_code == 409
        tested = (await rest("POST", f"{one}/test")).json()
        assert (tested["ok"], tested["code"]) == (False, "upstream_unavailable")


async def test_other_processes_serve_and_announce_it_within_seconds_and_drop_it_as_soon(
    database, settings, upstream
):
    key = await new_key(database.owner_url)
    told: asyncio.Queue[object] = asyncio.Queue()

    async def on_message(message) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.put_nowait(message)

    mcp_settings = settings.model_copy(update={"integrations": ()})
    async with (
        a_front(database, settings) as caller,
        running_mcp(mcp_settings) as url,
        agent("ws", url, key, "legacy", view="/x/all", message_handler=on_message) as client,
        agent("http", url, key, STATELESS, view="/x/all") as other,
    ):
        rest = await caller()
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "prometheus_query" not in names
        await rest("POST", ALL, json=metrics(upstream))
        async with asyncio.timeout(EFFECT_WITHIN_S):
            await told.get()
            names = {tool.name for tool in (await client.list_tools()).tools}
        assert "prometheus_query" in names
        answer = await other.call_tool("prometheus_query", {"query": "up"})
        assert answer.is_error is not True
        await rest("DELETE", f"{ALL}/metrics")
        async with asyncio.timeout(EFFECT_WITHIN_S):
            await told.get()
            assert "prometheus_query" not in {tool.name for tool in (await client.list_tools()).tools}


async def test_rights_go_down_to_single_integrations_and_options_are_hidden_from_who_may_only_list(
    database, settings, upstream
):
    """O09"""
    async with a_front(database, settings) as caller:
        rest = await caller()
        for name in ("staging", "production"):
            await rest("POST", ALL, json=metrics(upstream, name))
        scoped = await caller("integrations:*:staging", "tools:read:*@staging")
        assert [one["name"] for one in (await scoped("GET", ALL)).json()["items"]] == ["staging"]
        assert (await scoped("GET", f"{ALL}/staging")).json()["options"] == {"base_url": upstream.url}
        draft = redrafted(metrics(upstream), credentials=None, read_only=True)
        assert (await scoped("PUT", f"{ALL}/staging", json=draft)).status_code == 200
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
            assert (await scoped(method, f"{ALL}/production{path}")).status_code == 403, method
        assert (await query(scoped, "staging")).status_code == 200
        assert (await query(scoped, "production")).status_code == 403
        viewer = await caller(grants=(), roles=("viewer",))
        seen = (await viewer("GET", ALL)).json()["items"]
        assert [one["options"] for one in seen] == [None, None, None]
        assert (await viewer("POST", ALL, json=metrics(upstream, "other"))).status_code == 403
        operator = await caller(grants=(), roles=("operator",))
        assert (await operator("GET", f"{ALL}/staging")).json()["options"] == {"base_url": upstream.url}


async def a_person(rest: Rest, http: httpx2.AsyncClient, name: str, *roles: str) -> Rest:
    password = "correct horse battery staple"
    body = {"username": name, "name": name, "roles": roles, "password": password}
    answer = await rest("POST", "/api/v1/users", json=body)
    assert answer.status_code == 201, answer.text
    return Rest(With(http, auth=(f"default/{name}", password)))


async def test_a_system_is_called_as_the_person_where_it_must_be_and_never_silently_as_the_service(
    database, settings, upstream
):
    """A22, K01"""
    async with a_front(database, settings) as caller:
        rest = await caller()
        alice = await a_person(rest, caller.http, "alice", "developer")
        bob = await a_person(rest, caller.http, "bob", "developer")
        await rest("POST", ALL, json=metrics(upstream, credential_policy="personal_required"))
        for who in (alice, bob, rest):
            refused = await query(who)
            assert (refused.status_code, refused.json()["code"]) == (403, "personal_credential_missing")
        assert upstream.shown == [], "nobody was called"
        stored = await alice("PUT", f"{OWN}/metrics", json={"credentials": {"bearer_token": ALICES}})
        assert stored.status_code == 200, stored.text
        assert (await query(alice)).status_code == 200
        assert (await query(bob)).status_code == 403
        assert upstream.shown == [f"Bearer {ALICES}"]
        assert [one["integration"] for one in (await alice("GET", OWN)).json()["items"]] == ["metrics"]
        assert (await bob("GET", OWN)).json()["items"] == []
        assert "canary" not in everything_stored(database) + (await alice("GET", OWN)).text

        draft = redrafted(metrics(upstream), credentials=None, credential_policy="personal_preferred")
        await rest("PUT", f"{ALL}/metrics", json=draft)
        await query(alice)
        await query(bob)
        assert upstream.shown[1:] == [f"Bearer {ALICES}", f"Bearer {SERVICE}"]
        assert (await bob("DELETE", f"{OWN}/metrics")).status_code == 404
        assert (await alice("DELETE", f"{OWN}/metrics")).status_code == 204
        await query(alice)
        assert upstream.shown[-1] == f"Bearer {SERVICE}"
        alice_id = (await alice("GET", "/api/v1/me")).json()["user_id"]
    calls = await recorded(database, "tool.read", 8)
    as_whom = [call["@upstream"]["as"] for call in calls if "@upstream" in call]
    assert as_whom == [f"user:{alice_id}", f"user:{alice_id}", "service", "service"]


async def test_own_credentials_are_only_taken_where_they_are_used_and_forgotten_when_the_address_changes(
    database, settings, upstream
):
    async with a_front(database, settings) as caller, serve(elsewhere := Upstream()) as url:
        rest = await caller()
        alice = await a_person(rest, caller.http, "alice", "developer")
        body = {"credentials": {"bearer_token": ALICES}}
        await rest("POST", ALL, json=metrics(upstream))
        assert (await alice("PUT", f"{OWN}/metrics", json=body)).status_code == 409, "as the service only"
        draft = redrafted(metrics(upstream), credential_policy="personal_preferred")
        await rest("PUT", f"{ALL}/metrics", json=draft)
        assert (await rest("PUT", f"{OWN}/metrics", json=body)).status_code == 409, "a key is no person"
        assert (await alice("PUT", f"{OWN}/metrics", json={"credentials": {}})).status_code == 422
        assert (await alice("PUT", f"{OWN}/absent", json=body)).status_code == 404
        one = f"{OWN}/metrics"
        assert (await alice("GET", one)).status_code == 404
        first = [await alice("PUT", one, json=body, headers={"If-None-Match": "*"}) for _ in range(2)]
        assert [answer.status_code for answer in first] == [200, 412], "only where there is none"
        seen = (await alice("GET", one)).headers["etag"]
        assert seen == first[0].headers["etag"]
        assert (await alice("PUT", one, json=body, headers={"If-Match": seen})).status_code == 200
        late = [
            await alice(method, one, json=body, headers={"If-Match": seen}) for method in ("PUT", "DELETE")
        ]
        assert [answer.status_code for answer in late] == [412, 412]
        await rest("PUT", f"{ALL}/metrics", json=draft | {"options": {"base_url": url}})
        await query(alice)
        assert elsewhere.shown == [f"Bearer {SERVICE}"]
        assert (await alice("GET", OWN)).json()["items"] == []


async def test_webhooks_are_taken_at_an_address_of_the_integrations_own_with_each_secret_in_force(
    database, settings
):
    """T01, W01: two tenants with an integration of the same name do not get in each other's way."""
    other = new_id()
    add_tenant(database, other)
    hook = {"name": "code", "system": "github", "webhook_secrets": ["first-secret"]}
    async with a_front(database, settings) as caller:
        ours, theirs = await caller(), await caller(tenant_id=other)
        paths = [(await rest("POST", ALL, json=hook)).json()["webhook_path"] for rest in (ours, theirs)]
        assert paths[0] != paths[1]

        async def delivered(path: str, secret: str) -> int:
            body, headers = signed("workflow_run", failed_run(), secret)
            return (await caller.http.post(path, content=body, headers=headers)).status_code

        assert await delivered("/webhooks/github/code", "first-secret") == 404
        assert [await delivered(path, "first-secret") for path in paths] == [202, 202]
        added = await ours("POST", f"{ALL}/code/webhook-secrets", json={"overlap_hours": 1})
        assert added.json()["webhook_secrets"] == 2
        assert [await delivered(paths[0], s) for s in ("first-secret", added.json()["secret"])] == [202, 202]
        gone = await ours(
            "POST", f"{ALL}/code/webhook-secrets", json={"secret": "third-one", "overlap_hours": 0}
        )
        assert (gone.json()["webhook_secrets"], gone.json()["secret"]) == (1, None)
        assert [await delivered(paths[0], s) for s in ("third-one", "first-secret")] == [202, 401]
        assert added.json()["secret"] not in (await ours("GET", f"{ALL}/code")).text

        await ours("POST", f"/api/v1/tenants/{other}/suspend")
        async with asyncio.timeout(EFFECT_WITHIN_S):
            while await delivered(paths[1], "first-secret") != 403:
                await asyncio.sleep(0.1)
        assert await delivered(paths[0], "third-one") == 202
        await ours("POST", f"/api/v1/tenants/{other}/resume")
        async with asyncio.timeout(EFFECT_WITHIN_S):
            while await delivered(paths[1], "first-secret") != 202:
                await asyncio.sleep(0.1)


async def test_a_webhook_secret_that_can_verify_nothing_is_refused_and_one_that_we_make_can(
    database, settings
):
    async with a_front(database, settings) as caller:
        rest = await caller()
        hook = {"name": "billing", "system": "standard", "webhook_secrets": ["not base64!"]}
        refused = [await rest("POST", ALL, json=hook)]
        await rest("POST", ALL, json=hook | {"webhook_secrets": []})
        refused.append(await rest("POST", f"{ALL}/billing/webhook-secrets", json={"secret": "not base64!"}))
        refused.append(await rest("PUT", f"{ALL}/billing", json={"webhook_secrets": ["not base64!"]}))
        made = (await rest("POST", f"{ALL}/billing/webhook-secrets")).json()
    assert [answer.status_code for answer in refused] == [422] * 3
    assert [answer.json()["violations"][0]["where"] for answer in refused] == [
        "body.webhook_secrets",
        "body.secret",
        "body.webhook_secrets",
    ]
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"), validate=True)) == 32


async def test_what_is_sealed_opens_nowhere_else_and_not_as_another_version(database, settings, upstream):
    """K03"""
    async with a_front(database, settings) as caller:
        rest = await caller()
        for name in ("one", "two"):
            await rest("POST", ALL, json=metrics(upstream, name))
        await rest("PUT", f"{ALL}/two", json=redrafted(metrics(upstream), credentials=None))
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute(
                "UPDATE integrations SET sealed = (SELECT sealed FROM integrations WHERE name = 'two') WHERE name = 'one'"
            )
            connection.execute(
                "UPDATE integrations SET version = 3, options = options || '{\"base_url\": \"http://127.0.0.1:1\"}' WHERE name = 'two'"
            )
        for name in ("one", "two"):
            assert (await rest("GET", f"{ALL}/{name}")).json()["problem"] is not None
            await rest("POST", f"{ALL}/{name}/test")
        assert upstream.shown == []
        refused = await rest("PUT", f"{ALL}/one", json=redrafted(metrics(upstream), credentials=None))
        assert refused.status_code == 409
        anew = redrafted(metrics(upstream), webhook_secrets=[])
        assert (await rest("PUT", f"{ALL}/one", json=anew)).json()["problem"] is None
        assert (await query(rest, "one")).status_code == 200


async def test_a_master_key_is_exchanged_while_all_runs(database, redis_url, upstream):
    """K03: what the old key sealed is sealed with the new one by the worker's upkeep, and the old one can go."""
    old, new = "the master key of last year, which is old", "the master key of now, long enough to be one"

    def keyed(*keys: str):
        plain = settings_for(database.app_url, redis_url, basic_authentication=True)
        return plain.model_validate({**dict(plain), "master_keys": keys})

    body = metrics(upstream, credential_policy="personal_preferred")
    async with a_front(database, keyed(old)) as caller:
        rest = await caller()
        alice = await a_person(rest, caller.http, "alice", "developer")
        await rest("POST", ALL, json=body)
        await alice("PUT", f"{OWN}/metrics", json={"credentials": {"bearer_token": ALICES}})
    both = keyed(new, old)
    async with open_database(database.worker_url, pool_size=1, application="test") as worker:
        rotation = SecretRotation(worker, Keyring(both.master_keys))
        assert await rotation.remaining() == 2
        assert [await rotation.reseal_all(), await rotation.reseal_all()] == [2, 0]
        assert await rotation.remaining() == 0
    async with open_database(database.app_url, pool_size=1, application="test") as app:
        with pytest.raises(ConfigurationError):
            await SecretRotation(app, Keyring(both.master_keys)).remaining()
    async with a_front(database, keyed(new)) as caller:
        rest = await caller()
        assert (await query(rest)).status_code == 200
        alice = Rest(With(caller.http, auth=("default/alice", "correct horse battery staple")))
        assert (await query(alice)).status_code == 200
    assert upstream.shown == [f"Bearer {SERVICE}", f"Bearer {ALICES}"]


async def test_one_tenant_neither_sees_nor_uses_what_is_anothers(database, settings, upstream):
    """T01"""
    other = new_id()
    add_tenant(database, other)
    async with a_front(database, settings) as caller:
        ours, stranger = await caller(), await caller(tenant_id=other)
        await ours("POST", ALL, json=metrics(upstream))
        assert (await stranger("GET", ALL)).json()["items"] == []
        assert (await query(stranger)).status_code == 404
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
            assert (await stranger(method, f"{ALL}/metrics{path}")).status_code == 404
        assert (await stranger("POST", ALL, json=metrics(upstream))).status_code == 201, (
            "names are the tenant's"
        )
    assert upstream.shown == []

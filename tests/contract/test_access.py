"""Every route and every tool, as everybody: each built-in role, another tenant, and nobody (cases A18, T01, O09).

The routes come from the OpenAPI document and from the services' own tables, the tools from the catalogue. A new one without an entry here
fails.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import sql
from starlette.routing import Route, WebSocketRoute

from devops_mcp.adapters.base import Effect
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.models.base import utc_now
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.permissions import BUILT_IN, BuiltInRole, covers
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.own_tools import OWN_TOOLS
from devops_mcp.repositories.database import open_database
from devops_mcp.serving.protected_resource import METADATA
from mcp_server.app import open_app as open_mcp_app
from rest_api.app import open_app as open_rest_app
from rest_api.endpoint import Raw
from rest_api.rights import OPEN, RIGHTS
from rest_api.routes import ENDPOINTS
from rest_api.versions import MERGE_PATCH
from support.happenings import happen
from support.rest import DOCUMENT
from support.schema_examples import example
from support.services import new_key, running_rest, settings_for
from support.tenants import add_tenant

AGENTS = "/api/v1/agents"
CONTEXTS, LETTERS, HOOKS = "/api/v1/contexts", "/api/v1/dead-letters", "/api/v1/webhook-endpoints"
INTEGRATIONS = "/api/v1/integrations"
RULES, QUOTAS = "/api/v1/rules", "/api/v1/quotas"
USERS, ROLES, KEYS, TENANTS = "/api/v1/users", "/api/v1/roles", "/api/v1/api-keys", "/api/v1/tenants"
MATRIX: Mapping[str, str] = {
    **RIGHTS,
    # Of another, as all here but the owner are of this one.
    f"PATCH {AGENTS}/{{agent_id}}": "agents:read + agents:write + agents:any_owner",
}

OPEN_ROUTES = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/oauth/authorize",
    "/oauth/device",
    "/oauth/device_authorization",
    "/oauth/register",
    "/oauth/revoke",
    "/oauth/sign-in",
    "/oauth/sign-in/elsewhere",
    "/oauth/callback",
    "/oauth/sign-out",
    "/oauth/token",
    "/webhooks/{system}",
    "/webhooks/{system}/{integration}",
}
"""Routes that take no credential of ours: probes, documents, what leads to one, and webhooks, which are signed by their senders."""

TOOLS_BY_EFFECT: Mapping[Effect, frozenset[str]] = {
    Effect.READ: frozenset({"owner", "admin", "operator", "developer", "viewer", "agent"}),
    Effect.WRITE: frozenset({"owner", "admin", "operator", "developer"}),
    Effect.DESTRUCTIVE: frozenset({"owner", "admin", "operator"}),
}
TOOLS_OF_AGENTS = {
    "context_create",
    "context_append",
    "context_summarize",
    "context_pin",
    "agent_register",
    "agent_heartbeat",
}
"""Tools that change something and that agents may call nevertheless."""
TOOLS_OF_ALL = {
    "tools_search",
    "tools_describe",
    "tools_read",
    "tools_call",
    "task_start",
    "task_get",
    "task_list",
    "task_cancel",
}
"""Tools that need no grant: what they lead to has rights of its own."""

RULE = {"name": "x", "match": {"types": ["build.*"]}, "action": {"kind": "notification", "title": "x"}}
BODIES: Mapping[str, Any] = {
    "create_rule": RULE,
    "replace_rule": RULE,
    "dry_run_draft": {"rule": RULE},
    "create_webhook_endpoint": {"name": "x", "url": "https://example.com/"},
    "replace_webhook_endpoint": {"name": "x", "url": "https://example.com/"},
    "choose_model": {"model": None},
    "start_event_replay": {"events": {"since": "2026-11-01T00:00:00Z"}, "consumer": "processing"},
    "create_embeddings": {"input": ["x"]},
    "submit_task": {"tool": "context_list"},
    "answer_task": {"answers": {"x": {"kind": "roots", "uris": []}}},
    "create_integration": {"name": "new-one", "system": "github"},
    "replace_integration": {"options": {}},
    "put_own_credentials": {"credentials": {"token": "x"}},
    "create_role": {"name": "new-role", "grants": ["search:read"]},
    "replace_role": {"grants": ["search:read"]},
    "create_tenant": {
        "name": "x",
        "slug": "new-tenant",
        "owner": {"username": "x", "name": "x", "password": "correct horse battery staple"},
    },
}
"""Where the document's schema is not enough to make a body of."""

PASSWORD = "correct horse battery staple"
CANARY = "canary-of-the-first-tenant"
NAMED = ("role", "integration")
"""What is found by a name."""
OF_PERSONS = {"GET /api/v1/me/credentials/{integration}"}
"""What only a person has, and no key."""
NOT_COMPARED = {"date", "x-request-id", "server-timing", "content-length", "ratelimit", "ratelimit-policy"}
POWERLESS = "nothing"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def allowed(needed: str, role: str) -> bool:
    grants = BUILT_IN.get(role, ("prompts:read:none",))
    return any(all(covers(grants, one) for one in way.split(" + ") if one) for way in needed.split(" | "))


def body_of(endpoint) -> Any:
    operation = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    if "requestBody" not in operation:
        return None
    if endpoint.method == "PATCH":
        return {}
    if endpoint.body is Raw:
        return {"type": "context", "title": "x"}
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return BODIES.get(endpoint.handle.__name__, example(schema, DOCUMENT))


QUERIES = {"/api/v1/attachments": "?context_id={context_id}&name=x"}
"""What some routes are told in the query."""


def target(endpoint) -> str:
    return endpoint.path + QUERIES.get(endpoint.path, "")


def filled(path: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda hole: ids[hole[1]], path)


MODEL = "writer"
EVERYBODYS = {"position": "1", "name": "task_list", "kind": "language", "model": MODEL}
"""What is no tenant's own."""
ABSENT = {
    "name": "task_list",
    "kind": "language",
    "model": "no-such-model",
    "position": "1",
    "role": "no-such-role",
    "integration": "no-such-integration",
}


def absent_ids() -> dict[str, str]:
    """For every hole of every path something that there is not, or that everybody has."""
    holes = {hole for endpoint in ENDPOINTS for hole in re.findall(r"{(\w+)}", endpoint.path)}
    return {hole: ABSENT.get(hole, str(new_id())) for hole in holes}


@dataclass
class Front:
    """rest-api, and callers by name: the built-in roles and a powerless one in the first tenant, and the owner of another."""

    http: httpx2.AsyncClient
    keys: dict[str, str]

    async def __call__(self, who: str | None, method: str, path: str, body: Any = None) -> httpx2.Response:
        headers = {"X-API-Key": self.keys[who]} if who else {}
        headers |= {"Content-Type": MERGE_PATCH} if method == "PATCH" else {}
        return await self.http.request(method, path, json=body, headers=headers)


@asynccontextmanager
async def a_front(database, settings) -> AsyncIterator[Front]:
    other = new_id()
    add_tenant(database, other)
    keys = {
        role.value: await new_key(database.owner_url, "search:read", grants=(), roles=(role.value,))
        for role in BuiltInRole
    }
    keys[POWERLESS] = await new_key(database.owner_url, "prompts:read:none")
    keys["stranger"] = await new_key(database.owner_url, tenant_id=other)
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        yield Front(http, keys)


@pytest.fixture
def settings(database, redis_url, tmp_path):
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    metrics = {"name": "metrics", "system": "prometheus", "options": {"base_url": "http://127.0.0.1:9"}}
    github = {"name": "github", "system": "github"}
    writer = {"base_url": "http://127.0.0.1:9", "model": MODEL}
    return settings_for(
        database.app_url, redis_url, [files, metrics, github], tool_calls_per_s=0, summary_model=writer
    )


def test_every_route_of_the_document_has_an_entry_and_no_other():
    """A18: a new route without an entry fails here."""
    assert {endpoint.route for endpoint in ENDPOINTS} == set(MATRIX)


async def differences(front: Front, endpoint) -> list[tuple]:
    """Of the answers that an open route gives to whoever asks."""
    answers = [
        await front(who, endpoint.method, endpoint.path, body_of(endpoint))
        for who in (None, POWERLESS, "owner")
    ]
    said = {as_seen(answer, ABSENT) for answer in answers}
    return [] if len(said) == 1 and answers[0].status_code in (204, 401) else [(endpoint.route, said)]


async def test_every_route_lets_in_exactly_the_roles_that_it_is_meant_for(database, settings):
    """A18"""
    wrong = []
    async with a_front(database, settings) as front:
        there = await make_everything(database, settings, front)
        for endpoint in ENDPOINTS:
            # A patch is of what there is: who may only read hears that there is nothing to patch.
            ids = there if endpoint.method == "PATCH" else absent_ids()
            path, body = filled(target(endpoint), ids), body_of(endpoint)
            if MATRIX[endpoint.route] == OPEN:
                wrong += await differences(front, endpoint)
                continue
            for who in (POWERLESS, *BUILT_IN):
                answer = await front(who, endpoint.method, path, body)
                expected = allowed(MATRIX[endpoint.route], who)
                if (
                    (answer.status_code != 403) is not expected
                    or answer.status_code in (401, 422)
                    or answer.status_code >= 500
                ):
                    wrong.append((who, endpoint.route, answer.status_code, answer.text[:200]))
            nobody = await front(None, endpoint.method, path, body)
            by_url = await front(
                None,
                endpoint.method,
                f"{path}{'&' if '?' in path else '?'}api_key={front.keys['owner']}",
                body,
            )
            if (nobody.status_code, by_url.status_code) != (401, 401):
                wrong.append(("nobody", endpoint.route, nobody.status_code, by_url.status_code))
    assert wrong == []


async def test_every_tool_is_for_exactly_the_roles_that_it_is_meant_for(database, settings):
    """A18, O09: what is not for a role is not in its list, and is called like a tool that does not exist."""
    tools = [
        *OWN_TOOLS,
        *(tool for name in ("fs", "prometheus", "github") for tool in load_adapters()[name].tools),
    ]
    assert {tool.name for tool in OWN_TOOLS if not tool.needs_grant} == TOOLS_OF_ALL
    wrong = []
    async with a_front(database, settings) as front:
        for who in (POWERLESS, *BUILT_IN):
            page = (await front(who, "GET", "/api/v1/tools?limit=100")).json()
            assert page["next_cursor"] is None, "one page holds them all"
            listed = {tool["name"] for tool in page["items"]}
            for tool in tools:
                expected = tool.name in TOOLS_OF_ALL or who in TOOLS_BY_EFFECT[tool.effect]
                expected = expected or (who == "agent" and tool.name in TOOLS_OF_AGENTS)
                call = await front(
                    who, "POST", f"/api/v1/tools/{tool.name}/call", {"arguments": {"no such": 1}}
                )
                if call.status_code != (422 if expected else 404) or (tool.name in listed) is not expected:
                    wrong.append((who, tool.name, call.status_code))
    assert wrong == []


async def make_everything(database, settings, front: Front) -> dict[str, str]:
    """One thing of each kind in the first tenant, by the hole that it fills in a path."""

    async def made(path: str, body: Any) -> dict[str, Any]:
        answer = await front("owner", "POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    agent = (await made(AGENTS, {"name": CANARY}))["id"]
    context = (await made(CONTEXTS, {"title": CANARY}))["id"]
    await made(f"/api/v1/attachments?context_id={context}&name={CANARY}", CANARY)
    await made(f"{CONTEXTS}/{context}/items", {"items": [{"text": CANARY}]})
    snapshot = (await made(f"{CONTEXTS}/{context}/snapshots", {"name": CANARY}))["id"]
    user = (await made(USERS, {"username": CANARY, "name": CANARY}))["id"]
    identity = {"issuer": "https://id.example.com", "subject": CANARY}
    identity = await made(f"{USERS}/{user}/identities", identity)
    key = (await made(KEYS, {"name": CANARY}))["id"]
    await made(ROLES, {"name": CANARY, "grants": ["search:read"]})
    await made(USERS, {"username": "sleeper", "name": "sleeper", "password": PASSWORD})
    signed_in = await front(None, "POST", "/api/v1/login", {"username": "sleeper", "password": PASSWORD})
    await made(INTEGRATIONS, {"name": CANARY, "system": "github", "credentials": {"token": CANARY}})
    task = await front(
        "owner", "POST", "/api/v1/tasks", {"tool": "context_list", "arguments": {"cursor": CANARY}}
    )
    hook = (await made(HOOKS, {"name": CANARY, "url": "https://example.com/"}))["id"]
    again = {"events": {"since": "2026-11-01T00:00:00Z"}, "consumer": "processing"}
    replay = await front("owner", "POST", "/api/v1/events/replays", again)
    rule = (await made(RULES, {**RULE, "name": CANARY}))["id"]
    letter = new_id()
    [event] = await happen(database.worker_url, settings.redis_url.get_secret_value(), 7)
    row = DeadLetter(
        id=letter,
        queue="events",
        message_id=str(letter),
        type=None,
        trace=None,
        body=CANARY,
        reason=CANARY,
        attempts=1,
        died_at=utc_now(),
    )
    async with (
        open_database(database.worker_url, pool_size=1, application="test") as worker,
        worker.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        await tx.dead_letters.add([row])
    with psycopg.connect(database.superuser_url) as connection:
        [(delivery,)] = connection.execute("SELECT id FROM webhook_deliveries").fetchall()
        [(record,)] = connection.execute(
            "SELECT id FROM audit_log WHERE tenant_id = %s LIMIT 1", (DEFAULT_TENANT_ID,)
        ).fetchall()
        connection.execute(
            """
            INSERT INTO oauth_consents (tenant_id, id, user_id, client_id, client_name, audience, scopes, remembered)
            VALUES (%(tenant)s, %(id)s, %(user)s, 'c', %(canary)s, 'here', '{}', false)
            """,
            {"tenant": DEFAULT_TENANT_ID, "id": letter, "user": user, "canary": CANARY},
        )
    return {
        "agent_id": agent,
        "principal_id": user,
        "context_id": context,
        "snapshot_id": snapshot,
        "record_id": str(record),
        "kind": "language",
        "model": MODEL,
        "position": "1",
        "user_id": user,
        "identity_id": identity["id"],
        "key_id": key,
        "role": CANARY,
        "session_id": signed_in.json()["session_id"],
        "consent_id": str(letter),
        "integration": CANARY,
        "task_id": task.json()["id"],
        "endpoint_id": hook,
        "delivery_id": str(delivery),
        "rule_id": rule,
        "dead_letter_id": str(letter),
        "event_id": str(event),
        "replay_id": replay.json()["id"],
        "tenant_id": str(DEFAULT_TENANT_ID),
        "name": "task_list",
    }


def belongings(database) -> dict[str, list[tuple]]:
    """All rows of the first tenant, but for the audit log."""
    with psycopg.connect(database.superuser_url) as connection:
        tables = connection.execute(
            """
            SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attname = 'tenant_id'
                AND NOT c.relispartition AND c.relname NOT LIKE 'audit%'
            """
        ).fetchall()
        select = sql.SQL("SELECT t::text FROM {} AS t WHERE tenant_id = %s ORDER BY 1")
        return {
            name: connection.execute(select.format(sql.Identifier(name)), (DEFAULT_TENANT_ID,)).fetchall()
            for (name,) in tables
        }


def as_seen(answer: httpx2.Response, ids: Mapping[str, str]) -> tuple[int, str, str]:
    named = re.compile("|".join(re.escape(ids[hole]) for hole in NAMED))
    text = re.sub(UUID, "ID", named.sub("ID", answer.text))
    headers = {name: value for name, value in answer.headers.items() if name not in NOT_COMPARED}
    return answer.status_code, str(headers), re.sub(r'"request_id":"\w+"', "", text)


async def test_what_is_anothers_is_answered_like_what_does_not_exist_on_every_route(database, settings):
    """T01, T02, I9"""
    wrong = []
    async with a_front(database, settings) as front:
        ids = await make_everything(database, settings, front)
        missing = {
            hole for endpoint in ENDPOINTS for hole in re.findall(r"{(\w+)}", target(endpoint))
        } - ids.keys()
        assert missing == set(), "say how one of these is made, so that it can be tried as another tenant"
        before = belongings(database)
        for endpoint in ENDPOINTS:
            body, absent = body_of(endpoint), {**absent_ids(), **EVERYBODYS}
            if endpoint.method == "GET" and "{" in endpoint.path:
                own = await front("owner", "GET", filled(endpoint.path, ids))
                if own.status_code != (404 if endpoint.route in OF_PERSONS else 200):
                    wrong.append(("its own", endpoint.route, own.status_code))
            theirs = await front("stranger", endpoint.method, filled(target(endpoint), ids), body)
            asked = any(f"{{{hole}}}" in endpoint.path for hole in NAMED)
            if CANARY in theirs.text.replace(CANARY, "", 1 if asked else 0):
                wrong.append(("shows it", endpoint.route, theirs.text[:200]))
            if "{" in target(endpoint):
                nothing = await front("stranger", endpoint.method, filled(target(endpoint), absent), body)
                if as_seen(theirs, ids) != as_seen(nothing, absent):
                    wrong.append(("differs", endpoint.route, theirs.text[:200], nothing.text[:200]))
        assert belongings(database) == before
    assert wrong == []


async def test_what_is_anothers_is_answered_like_what_does_not_exist_by_every_tool(database, settings):
    """T01, through the suite's own tools; those of systems are not there without an integration."""
    wrong = []
    async with a_front(database, settings) as front:
        ids = await make_everything(database, settings, front)
        before = belongings(database)
        for tool in (*OWN_TOOLS, *load_adapters()["fs"].tools):
            schema = tool.params.model_json_schema()
            said = []
            for known in (ids, absent_ids()):
                arguments = example(schema, schema) if tool.name not in TOOLS_OF_ALL else {}
                arguments |= {hole: known[hole] for hole in ("context_id",) if hole in schema["properties"]}
                arguments |= {
                    hole: ids["context_id"] for hole in ("task_id", "handle") if hole in schema["properties"]
                }
                path = f"/api/v1/tools/{tool.name}/call"
                answer = await front("stranger", "POST", path, {"arguments": arguments})
                said.append(as_seen(answer, known))
                if CANARY in answer.text:
                    wrong.append(("shows it", tool.name, answer.text[:200]))
            if "context_id" in schema["properties"] and said[0] != said[1]:
                wrong.append(("differs", tool.name, *said))
        assert belongings(database) == before
    assert wrong == []


async def test_no_route_of_a_service_is_open_that_is_not_meant_to_be(database, settings):
    """S01, A18: the routes as they are served, also those that are not in the document."""
    stop = asyncio.Event()
    async with (
        open_rest_app(settings, Metrics(), stop) as rest,
        open_mcp_app(settings, Metrics(), stop) as mcp,
    ):
        documented = {endpoint.path for endpoint in ENDPOINTS}
        for surface in (rest, mcp):
            transport = httpx2.ASGITransport(app=surface)
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
                routes = surface._app.routes  # type: ignore[attr-defined]
                sockets = {route.path for route in routes if isinstance(route, WebSocketRoute)}
                for route in routes:
                    public = OPEN_ROUTES | documented
                    if re.sub(":(id|path)}", "}", route.path) in public or route.path.startswith(METADATA):
                        continue
                    assert isinstance(route, Route | WebSocketRoute)
                    if isinstance(route, WebSocketRoute):
                        continue  # tests/integration/mcp_server/test_websocket_access.py
                    for method in route.methods or ():
                        path = re.sub(
                            r"{\w+(:path)?}", "x", re.sub(r"{\w+:u?u?id}", str(new_id()), route.path)
                        )
                        assert surface is mcp, f"{method} {route.path} has no entry in this file"
                        answer = await http.request(method, path, json={})
                        refused = 426 if route.path in sockets else 401
                        assert answer.status_code == refused, (method, route.path, answer.status_code)
        stop.set()

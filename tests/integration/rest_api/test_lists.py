"""What can be listed is filtered and sorted by what is declared for it, page by page."""

import json
from typing import Any

import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, OPERATOR_TENANT_ID, new_id
from support.happenings import happen
from support.rest import Rest, a_caller
from support.services import settings_for

CONTEXTS, EVENTS, TENANTS = "/api/v1/contexts", "/api/v1/events", "/api/v1/tenants"
KEYS, RULES, HOOKS = "/api/v1/api-keys", "/api/v1/rules", "/api/v1/webhook-endpoints"
TASKS, INTEGRATIONS = "/api/v1/tasks", "/api/v1/integrations"
ROLES, MODELS = "/api/v1/roles", "/api/v1/models"
GITHUB = {"name": "a-github", "system": "github"}


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, [GITHUB])


async def listed(rest: Rest, path: str, query: str, name: str = "name") -> str:
    """The names of what is found, all pages one after the other."""
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        answer = await rest("GET", f"{path}?{query}&limit=2{cursor and '&cursor='}{cursor}")
        assert answer.status_code == 200, answer.text
        found += [str(item[name]) for item in answer.json()["items"]]
        cursor = answer.json()["next_cursor"]
    return " ".join(found)


async def made(rest: Rest, path: str, *bodies: dict[str, Any]) -> list[str]:
    answers = [await rest("POST", path, json=body) for body in bodies]
    assert {answer.status_code for answer in answers} <= {201, 202}, [answer.text for answer in answers]
    return [answer.json().get("id") for answer in answers]


async def test_api_keys(database, settings):
    async with a_caller(database, settings, name="me") as rest:
        service = {"kind": "service", "grants": ["search:read"]}
        b, _, _ = await made(
            rest,
            KEYS,
            {"name": "b", **service},
            {"name": "c", "kind": "agent", "roles": ["viewer"]},
            {"name": "a", **service, "expires_at": "2099-01-01T00:00:00Z"},
        )
        await rest("DELETE", f"{KEYS}/{b}")
        assert await listed(rest, KEYS, "sort=name") == "a b c me"
        assert await listed(rest, KEYS, "sort=-name&kind=service") == "b a"
        assert await listed(rest, KEYS, "in_force=true&sort=created_at") == "me c a"
        assert await listed(rest, KEYS, "in_force=false") == "b"
        assert await listed(rest, KEYS, "role=viewer") == "c"
        assert await listed(rest, KEYS, "name=A") == "a"
        wrong = [await rest("GET", f"{KEYS}?{query}") for query in ("sort=prefix", "in_force=x", "kind=x")]
    assert [answer.status_code for answer in wrong] == [422] * 3


async def test_contexts_are_listed_as_each_is_read(database, settings):
    """They come from the database as JSON, whatever is in them and however they are sorted."""
    large = '{"big": 1e300, "small": 1.5e-7, "none": null, "text": "\\u2028 \\"%s\\" {} €"}'
    bodies = [
        {"title": 'b "quoted" \\ %s \u2028\t€', "metadata": json.loads(large), "compact_above": 0},
        {"title": "a", "expires_at": "2099-01-01T00:00:00.5Z"},
        {"title": "c", "expires_at": "9999-12-31T23:59:59+00:00", "metadata": {"nested": [{"%d": [1, 2.5]}]}},
    ]
    async with a_caller(database, settings) as rest:
        ids = await made(rest, CONTEXTS, *bodies)
        fork = await rest("POST", f"{CONTEXTS}/{ids[1]}/fork", json={"title": "d"})
        assert fork.status_code == 201, fork.text
        each = {one: (await rest("GET", f"{CONTEXTS}/{one}")).json() for one in (*ids, fork.json()["id"])}
        answer = await rest("GET", f"{CONTEXTS}?limit=4&sort=title")
        assert await listed(rest, CONTEXTS, "sort=-title&fields=title", "title") == " ".join(
            ["d", "c", bodies[0]["title"], "a"]
        )
        assert await listed(rest, CONTEXTS, "sort=updated_at", "id") == " ".join(each)
    assert answer.json()["items"] == sorted(each.values(), key=lambda one: str(one["title"]))
    assert answer.json()["next_cursor"] is None


async def test_rules(database, settings):
    match, told = {"types": ["build.*"]}, {"kind": "notification", "title": "x"}
    async with a_caller(database, settings) as rest:
        call = {"kind": "tool", "tool": "context_list"}
        await made(
            rest,
            RULES,
            {"name": "b", "match": match, "action": told},
            {"name": "c", "match": match, "action": told, "enabled": False},
            {"name": "a", "match": match, "action": call},
        )
        assert await listed(rest, RULES, "sort=name") == "a b c"
        assert await listed(rest, RULES, "enabled=true&sort=-name") == "b a"
        assert await listed(rest, RULES, "action=notification") == "c b"
        assert await listed(rest, RULES, "name=C&enabled=false") == "c"


async def test_webhook_endpoints(database, settings):
    async with a_caller(database, settings) as rest:
        url = "https://example.com/"
        hooks = [{"name": name, "url": url, "enabled": name != "c"} for name in "bca"]
        failing = (await made(rest, HOOKS, *hooks))[0]
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute(
                "UPDATE webhook_endpoints SET failing_since = now(), updated_at = now() + interval '1 s' WHERE id = %s",
                (failing,),
            )
        assert await listed(rest, HOOKS, "sort=-updated_at") == "b a c"
        assert await listed(rest, HOOKS, "sort=name&enabled=true") == "a b"
        assert await listed(rest, HOOKS, "failing=true") == "b"
        assert await listed(rest, HOOKS, "failing=false&sort=created_at") == "c a"


async def test_tasks(database, settings):
    async with a_caller(database, settings) as rest:
        tasks = [
            {"tool": "fact_list", "priority": "high"},
            {"tool": "context_list"},
            {"tool": "event_list", "priority": "high"},
        ]
        ids = await made(rest, TASKS, *tasks)
        await rest("POST", f"{TASKS}/{ids[0]}/cancel")
        assert await listed(rest, TASKS, "sort=tool", "tool") == "context_list event_list fact_list"
        assert await listed(rest, TASKS, "sort=-updated_at", "tool") == "fact_list event_list context_list"
        assert await listed(rest, TASKS, "priority=high&status=working", "tool") == "event_list"
        assert await listed(rest, TASKS, "of_all=true&owner_id=" + ids[0], "tool") == ""


def put_rows(database, rule_id: str) -> None:
    """Three of each of what nothing here makes."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(DEFAULT_TENANT_ID),))
        for n in range(3):
            values = {"id": new_id(), "other": new_id(), "rule": rule_id, "n": str(n)}
            for insert in (
                "rule_runs (id, rule_id, version, event_id, outcome) VALUES (%(id)s, %(rule)s, 1, %(other)s, 'done')",
                """dead_letters (id, queue, message_id, body, reason, attempts, died_at)
                    VALUES (%(id)s, 'events', %(n)s, 'x', 'x', 1, now())""",
                """oauth_consents (id, user_id, client_id, client_name, audience, scopes, remembered)
                    SELECT %(id)s, id, %(n)s, 'x', 'x', '{}', false FROM users""",
            ):
                connection.execute(f"INSERT INTO {insert}", values)  # type: ignore[arg-type]


async def test_what_is_listed_by_age_is_listed_from_either_end(database, settings, redis_url):
    password = {"username": "alice", "password": "correct horse battery staple"}
    async with a_caller(database, settings) as rest:
        [context] = await made(rest, CONTEXTS, {"title": "x"})
        await made(rest, f"{CONTEXTS}/{context}/snapshots", *({"name": name} for name in "abc"))
        await made(rest, "/api/v1/users", {"name": "Alice", "grants": ["search:read"], **password})
        for _ in range(3):
            assert (await rest("POST", "/api/v1/login", json=password)).status_code == 200
        told = {"kind": "notification", "title": "x"}
        [rule] = await made(rest, RULES, {"name": "r", "match": {"types": ["build.*"]}, "action": told})
        hook = {"name": "h", "url": "https://example.com/", "filter": {"types": ["build.*"]}}
        [hook_id] = await made(rest, HOOKS, hook)
        await happen(database.worker_url, redis_url, 1, 2, 3)
        for _ in range(3):
            replay = {"events": {"since": "2026-11-01T00:00:00Z"}, "consumer": "processing"}
            [replay_id] = await made(rest, f"{EVENTS}/replays", replay)
            await rest("POST", f"{EVENTS}/replays/{replay_id}/cancel")
        put_rows(database, rule)
        for path in (
            "/api/v1/audit?action=sessions.begin",
            f"{EVENTS}?type=build.*",
            f"{EVENTS}/replays?",
            f"{CONTEXTS}/{context}/snapshots?",
            f"{RULES}/{rule}/runs?",
            f"{HOOKS}/{hook_id}/deliveries?",
            "/api/v1/sessions?",
            "/api/v1/dead-letters?",
            "/api/v1/oauth/consents?",
        ):
            way, _, query = path.partition("?")
            newest = await listed(rest, way, query, "id")
            oldest = await listed(rest, way, f"{query}&sort=created_at", "id")
            assert oldest.split() == sorted(newest.split()) == newest.split()[::-1], path
            assert len(oldest.split()) == 3, path


async def test_items(database, settings):
    async with a_caller(database, settings) as rest:
        [context] = await made(rest, CONTEXTS, {"title": "x"})
        kinds = ("message", "note", "message", "message", "note")
        items = [
            {"text": "x", "kind": kind, "role": "user" if n % 2 else None} for n, kind in enumerate(kinds)
        ]
        await rest("POST", f"{CONTEXTS}/{context}/items", json={"items": items})
        way = f"{CONTEXTS}/{context}/items"
        assert await listed(rest, way, "kind=message", "position") == "1 3 4"
        assert await listed(rest, way, "kind=message&sort=-position", "position") == "4 3 1"
        assert await listed(rest, way, "role=user", "position") == "2 4"
        assert await listed(rest, way, "sort=-position", "position") == "5 4 3 2 1"


async def test_tenants_are_filtered_and_roles_and_models(database, settings):
    async with a_caller(database, settings) as rest:
        for slug in ("beta", "alpha"):
            owner = {"username": "chief", "name": "Chief", "password": "correct horse battery staple"}
            new = {"name": slug.title(), "slug": slug, "owner": owner}
            assert (await rest("POST", TENANTS, json=new)).status_code == 201
        assert (await listed(rest, TENANTS, "sort=-name", "slug")).split()[-2:] == ["beta", "alpha"]
        assert await listed(rest, TENANTS, "name=ALPH&status=active", "slug") == "alpha"
        assert await listed(rest, TENANTS, "slug=beta", "slug") == "beta"
        assert await listed(rest, TENANTS, "status=suspended", "slug") == ""
        assert await listed(rest, "/api/v1/roles", "built_in=true&name=own") == "owner"
        assert await listed(rest, "/api/v1/models", "kind=language") == ""


async def test_lists_that_are_held_whole_come_page_by_page_too(database, redis_url):
    """What is made or deleted between two pages moves none of the others."""
    models = [
        {"provider": "openai", "name": name, "base_url": "http://127.0.0.1:1/v1", "dimensions": 8}
        for name in "bca"
    ]
    writer = {"model": "b", "base_url": "http://127.0.0.1:1/v1"}
    settings = settings_for(
        database.app_url, redis_url, [GITHUB], embedding_models=models, summary_model=writer
    )
    async with a_caller(database, settings) as rest:
        await made(rest, ROLES, *({"name": name, "grants": ["search:read"]} for name in ("x", "m", "p")))
        names = "admin agent developer m operator owner p viewer x"
        assert await listed(rest, ROLES, "") == names
        assert await listed(rest, ROLES, "sort=-name") == " ".join(reversed(names.split()))
        assert await listed(rest, ROLES, "built_in=false&sort=-name") == "x p m"
        first = (await rest("GET", f"{ROLES}?limit=4")).json()
        await rest("DELETE", f"{ROLES}/m")
        await made(rest, ROLES, {"name": "a", "grants": ["search:read"]})
        second = (await rest("GET", f"{ROLES}?limit=4&cursor={first['next_cursor']}")).json()
        assert [role["name"] for role in second["items"]] == ["operator", "owner", "p", "viewer"]
        assert (await rest("GET", f"{ROLES}?sort=-name&cursor={first['next_cursor']}")).status_code == 400
        assert await listed(rest, MODELS, "provider=openai") == "a b c b"
        assert await listed(rest, MODELS, "provider=openai&sort=-name") == "c b b a"
        assert await listed(rest, MODELS, "provider=openai&sort=name", "kind") == " ".join(
            ["embedding", "embedding", "language", "embedding"]
        )
        tools = (await listed(rest, "/api/v1/tools", "system=github")).split()
        assert tools == sorted(tools)
        assert len(tools) > 10
        by_system = (await listed(rest, "/api/v1/tools", "sort=-system", "system")).split()
        assert by_system == sorted(by_system, reverse=True)
        assert {"github", "suite"} == set(by_system)


async def test_quotas_and_programs_are_listed_from_either_end(database, settings):
    programs = [f"https://{name}.example.com/metadata.json" for name in "cab"]
    async with a_caller(database, settings) as rest:
        keys = await made(
            rest, KEYS, *({"name": name, "kind": "service", "grants": ["search:read"]} for name in "ba")
        )
        for whose in (f"quotas/{keys[0]}", f"quotas/{keys[1]}", f"tenants/{DEFAULT_TENANT_ID}/quotas"):
            limits = {"tool_calls_per_day": 5}
            assert (await rest("PUT", f"/api/v1/{whose}", json=limits)).status_code == 200
        with psycopg.connect(database.superuser_url) as connection:
            for n, program in enumerate(programs):
                connection.execute(
                    """
                    INSERT INTO oauth_clients (tenant_id, id, source, name, redirect_uris, created_at)
                    VALUES (%s, %s, 'document', 'x', '{}', now() + greatest(%s, 1) * interval '1 min')
                    """,
                    (OPERATOR_TENANT_ID, program, n),
                )
        assert await listed(rest, "/api/v1/quotas", "", "principal_id") == " ".join(["None", *keys])
        assert await listed(rest, "/api/v1/quotas", "sort=-principal_id", "principal_id") == " ".join(
            [*reversed(keys), "None"]
        )
        by_age = [programs[1], programs[0], programs[2]]
        assert await listed(rest, "/api/v1/oauth/clients", "sort=created_at", "id") == " ".join(by_age)
        assert await listed(rest, "/api/v1/oauth/clients", "", "id") == " ".join(reversed(by_age))


async def test_integrations(database, settings):
    async with a_caller(database, settings) as rest:
        metrics = {"system": "prometheus", "options": {"base_url": "https://example.com"}}
        await made(
            rest, INTEGRATIONS, {"name": "c", "read_only": True, **metrics}, {"name": "b", "system": "github"}
        )
        names = [
            [one["name"] for one in (await rest("GET", f"{INTEGRATIONS}?{query}")).json()["items"]]
            for query in (
                "",
                "sort=-system",
                "system=github",
                "configured=false&sort=-name",
                "read_only=true",
                "name=B",
            )
        ]
        wrong = await rest("GET", f"{INTEGRATIONS}?sort=options")
    assert names == [
        ["a-github", "b", "c"],
        ["c", "b", "a-github"],
        ["a-github", "b"],
        ["c", "b"],
        ["c"],
        ["a-github", "b"],
    ]
    assert wrong.status_code == 422

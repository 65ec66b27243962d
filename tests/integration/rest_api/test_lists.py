"""What can be listed is filtered and sorted by what is declared for it, page by page."""

from typing import Any

import psycopg
import pytest

from support.rest import Rest, a_caller
from support.services import settings_for

KEYS, RULES, HOOKS = "/api/v1/api-keys", "/api/v1/rules", "/api/v1/webhook-endpoints"
TASKS, INTEGRATIONS = "/api/v1/tasks", "/api/v1/integrations"
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
        found += [item[name] for item in answer.json()["items"]]
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

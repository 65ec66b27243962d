"""The audit log over REST: who did what, on whose behalf and from where; what was refused; and that nobody changed it."""

import asyncio
import json
import tracemalloc

import httpx2
import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations import audit_log
from support.rest import Rest, a_caller
from support.services import new_key, running_rest, settings_for
from support.tenants import add_tenant

AUDIT, PASSWORD = "/api/v1/audit", "correct horse battery staple"


@pytest.fixture
def settings(database, redis_url, tmp_path):
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    return settings_for(database.app_url, redis_url, [files], basic_authentication=True)


async def found(rest: Rest, at_least: int = 1, **wanted: str) -> list[dict]:
    """The records, once so many are written: those of calls are a moment later."""
    async with asyncio.timeout(30):
        while True:
            items = (await rest("GET", AUDIT, params={"limit": 100, **wanted})).json()["items"]
            if len(items) >= at_least:
                return items
            await asyncio.sleep(0.05)


async def test_a_change_is_recorded_with_before_and_after_and_from_where(database, settings):
    """L05"""
    async with a_caller(database, settings) as rest:
        new = {"username": "alice", "name": "Alice", "roles": ["viewer"], "password": PASSWORD}
        user = (await rest("POST", "/api/v1/users", json=new)).json()["id"]
        change = {"username": "alice", "name": "Alice", "roles": ["developer"]}
        await rest("PUT", f"/api/v1/users/{user}", json=change)
        [updated] = await found(rest, target=f"user:{user}", action="users.update")
        everything = await rest("GET", AUDIT, params={"action": "users.*"})
    assert updated["arguments"]["before"]["roles"] == ["viewer"]
    assert updated["arguments"]["after"]["roles"] == ["developer"]
    assert (updated["address"], updated["actor"], updated["outcome"]) == ("127.0.0.1", "tester", "ok")
    assert [one["action"] for one in everything.json()["items"]] == ["users.update", "users.create"]
    assert PASSWORD not in everything.text


async def test_what_a_key_of_a_user_does_is_found_by_the_user(database, settings):
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        root = {"X-API-Key": await new_key(database.owner_url)}
        new = {"username": "alice", "name": "Alice", "roles": ["developer"], "password": PASSWORD}
        user = (await http.post("/api/v1/users", json=new, headers=root)).json()["id"]
        draft = {"name": "laptop", "roles": ["developer"], "personal": True}
        made = (await http.post("/api/v1/api-keys", json=draft, auth=("alice", PASSWORD))).json()
        hers = {"X-API-Key": made["key"]}
        await http.post("/api/v1/tools/fs_list/call", json={"arguments": {}}, headers=hers)
        http.headers["X-API-Key"] = root["X-API-Key"]
        [call] = await found(Rest(http), actor_id=user, action="tool.*")
    assert (call["actor_id"], call["user_id"], call["target"]) == (made["id"], user, "fs_list")


async def test_whatever_is_refused_is_recorded(database, settings):
    """L05: a route, a change, a tool, a login."""
    async with running_rest(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        root = await new_key(database.owner_url)
        weak = {"X-API-Key": await new_key(database.owner_url, "contexts:read", name="weak")}
        refused = [
            await http.get("/api/v1/users", headers=weak),
            await http.delete(f"/api/v1/users/{new_id()}", headers=weak),
            await http.get(AUDIT, headers=weak),
            await http.post("/api/v1/tools/fs_list/call", json={"arguments": {}}, headers=weak),
            await http.get("/api/v1/me", auth=("nobody", PASSWORD)),
        ]
        http.headers["X-API-Key"] = root
        denied = await found(Rest(http), len(refused), outcome="denied")
    assert [answer.status_code for answer in refused] == [403, 403, 403, 404, 401]
    assert {(one["actor"], one["action"]) for one in denied} == {
        ("weak", "list_users"),
        ("weak", "users.write"),
        ("weak", "list_audit"),
        ("weak", "tool.read"),
        ("unknown", "login.password"),
    }


async def test_the_log_is_searched_page_by_page_and_only_by_its_tenant(database, settings):
    """T01"""
    other = new_id()
    add_tenant(database, other)
    async with a_caller(database, settings) as rest:
        for number in range(5):
            await rest("POST", "/api/v1/roles", json={"name": f"role-{number}", "grants": ["search:read"]})
        first = (await rest("GET", AUDIT, params={"limit": 3, "action": "roles.create"})).json()
        second = (
            await rest("GET", AUDIT, params={"cursor": first["next_cursor"], "action": "roles.create"})
        ).json()
        at = second["items"][0]["at"]
        until = (await rest("GET", AUDIT, params={"until": at, "action": "roles.create"})).json()["items"]
        since = (await rest("GET", AUDIT, params={"since": at, "action": "roles.create"})).json()["items"]
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, tenant_id=other)
        theirs = (await rest("GET", AUDIT)).json()["items"]
    targets = [one["target"] for one in first["items"] + second["items"]]
    assert targets == [f"role:role-{number}" for number in (4, 3, 2, 1, 0)]
    assert (len(until), len(since)) == (1, 4)
    assert theirs == []


async def test_the_log_is_exported_line_by_line_without_holding_it(database, settings, monkeypatch):
    monkeypatch.setattr(audit_log, "EXPORTED_AT_ONCE", 50)
    count, each = 1_000, 20_000
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(DEFAULT_TENANT_ID),))
        connection.execute(
            """
            INSERT INTO audit_log (tenant_id, id, at, actor_id, actor, action, target, outcome, duration_ms, arguments)
            SELECT current_tenant(), (left(uuid_floor(now())::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, now(), gen_random_uuid(), 'a',
                'b', n::text, 'ok', 1, jsonb_build_object('x', repeat('y', %s))
            FROM generate_series(1, %s) AS n
            """,
            (each, count),
        )
    async with a_caller(database, settings) as rest:
        tracemalloc.start()
        async with rest.http.stream("GET", f"{AUDIT}/export", params={"action": "b"}) as answer:
            assert answer.headers["content-type"] == "application/x-ndjson"
            targets = [json.loads(line)["target"] async for line in answer.aiter_lines()]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (await rest("GET", f"{AUDIT}/export", params={"action": "audit.export"})).status_code == 200
        verified = (await rest("GET", f"{AUDIT}/verify")).json()
    assert targets == [str(number) for number in range(count, 0, -1)]
    assert peak < count * each / 2
    assert verified["intact"] is True
    assert verified["records"] == count + 2


async def test_who_may_read_the_log_but_no_payloads_sees_no_arguments(database, settings):
    async with a_caller(database, settings) as rest:
        await rest("POST", "/api/v1/roles", json={"name": "one", "grants": ["search:read"]})
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, "audit:read")
        [listed] = (await rest("GET", AUDIT, params={"action": "roles.create"})).json()["items"]
        exported = await rest("GET", f"{AUDIT}/export", params={"action": "roles.create"})
    assert (listed["action"], listed["arguments"]) == ("roles.create", None)
    assert json.loads(exported.text)["arguments"] is None


async def test_a_changed_record_is_found_over_rest(database, settings):
    """I8"""
    async with a_caller(database, settings, "audit:read", "roles:*", "search:read") as rest:
        for name in ("one", "two"):
            await rest("POST", "/api/v1/roles", json={"name": name, "grants": ["search:read"]})
        sound = (await rest("GET", f"{AUDIT}/verify")).json()
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE audit_log SET actor = 'somebody else' WHERE target = 'role:one'")
        broken = (await rest("GET", f"{AUDIT}/verify")).json()
        assert (await rest("GET", f"{AUDIT}/verify", params={"after": 99})).status_code == 404
    assert (sound["intact"], sound["records"]) == (True, 2)
    assert (broken["intact"], broken["broken_at"], broken["problem"]) == (False, 1, "changed")

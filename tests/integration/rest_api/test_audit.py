"""The audit log over REST: who did what, on whose behalf and from where; what was refused; and that nobody changed it."""

import asyncio
import json
import tracemalloc

import httpx2
import psycopg
import pytest

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations import audit_log
from devops_mcp.repositories.database import open_database
from support.rest import Rest, a_caller
from support.services import new_key, running_rest, settings_for
from support.tenants import add_tenant
from worker.upkeep import Upkeep

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


async def test_what_is_done_to_a_context_is_recorded(database, settings):
    """L05: what is appended stands in the context itself, and who appended it in the log, in the same transaction."""
    async with a_caller(database, settings) as rest:
        path = (
            f"/api/v1/contexts/{(await rest('POST', '/api/v1/contexts', json={'title': 'x'})).json()['id']}"
        )
        await rest("POST", f"{path}/items", json={"items": [{"text": "needle"}]})
        await rest("POST", f"{path}/items", json={"items": [{"text": "x" * 40_000}, {"text": "y"}]})
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            waiting = connection.execute("SELECT record ->> 'action' FROM audit_waiting").fetchall()
        await rest("PUT", path, json={"title": "y"})
        await rest("PUT", f"{path}/items/1/pin")
        await rest("POST", f"{path}/compact", json={})
        snapshot = (await rest("POST", f"{path}/snapshots", json={"name": "s"})).headers["location"]
        assert (await rest("DELETE", snapshot)).status_code == 204
        assert (await rest("GET", snapshot)).status_code == 404
        fork = (await rest("POST", f"{path}/fork")).headers["location"]
        await rest("PUT", f"{path}/retention", json={"expires_at": "2099-01-01T00:00:00Z"})
        await rest("DELETE", path)
        of_context = await found(rest, 10, target=f"context:{path.rpartition('/')[2]}", sort="created_at")
        [forked] = await found(rest, target=f"context:{fork.rpartition('/')[2]}")
    verbs = [record["action"].partition(".")[2] for record in of_context]
    assert waiting == [("contexts.append",)] * 2
    appends = [of_context.pop(1), of_context.pop(1)]
    assert [record["arguments"] for record in appends] == [{"from": 1, "to": 1}, {"from": 2, "to": 3}]
    assert {(one["actor"], one["address"], one["outcome"]) for one in appends} == {
        ("tester", "127.0.0.1", "ok")
    }
    verbs = verbs[:1] + verbs[3:]
    assert verbs == ["create", "update", "pin", "compact", "snapshot", "forget_snapshot", "update", "delete"]
    assert (of_context[1]["arguments"]["before"]["title"], of_context[1]["arguments"]["after"]["title"]) == (
        "x",
        "y",
    )
    assert (forked["action"], forked["arguments"]["position"]) == ("contexts.fork", 3)


async def test_a_call_of_a_tool_and_what_it_changed_are_found_by_their_trace(database, settings):
    """L05"""
    async with a_caller(database, settings) as rest:

        async def call(name: str, **arguments: object) -> str:
            called = await rest("POST", f"/api/v1/tools/{name}/call", json={"arguments": arguments})
            return called.json()["result"]["data"]["context_id"]

        context = await call("context_create", title="x")
        await call("context_append", context_id=context, items=[{"text": "needle"}])
        [created] = await found(rest, action="contexts.create")
        together = await found(rest, 2, trace_id=created["trace_id"])
        malformed = await rest("GET", AUDIT, params={"trace_id": "nonsense"})
    assert {(one["action"], one["target"]) for one in together} == {
        ("contexts.create", f"context:{context}"),
        ("tool.write", "context_create"),
    }
    assert malformed.status_code == 422


async def test_records_that_wait_are_chained_by_the_worker_and_nobody_else_can_touch_them(database, settings):
    """L05, T04: more of them than are chained at once."""
    async with a_caller(database, settings) as rest:
        path = (
            f"/api/v1/contexts/{(await rest('POST', '/api/v1/contexts', json={'title': 'x'})).json()['id']}"
        )
        await rest("POST", f"{path}/items", json={"items": [{"text": "needle"}]})
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute(
                """
                INSERT INTO audit_waiting (tenant_id, id, record)
                SELECT tenant_id, uuid_floor(now() + n * interval '1 ms'),
                    record || jsonb_build_object('id', uuid_floor(now() + n * interval '1 ms'))
                FROM audit_waiting, generate_series(1, 600) AS n
                """
            )
        with psycopg.connect(database.app_url, autocommit=True) as connection:
            for statement in ("SELECT FROM audit_waiting", "DELETE FROM audit_waiting"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
        async with open_database(database.worker_url, pool_size=2, application="worker") as opened:
            await Upkeep(opened, Keyring(settings.master_keys)).chain_records()
        with psycopg.connect(database.superuser_url) as connection:
            chained = connection.execute(
                "SELECT seq, id FROM audit_log WHERE action = 'contexts.append' ORDER BY seq"
            ).fetchall()
            assert connection.execute("SELECT FROM audit_waiting").fetchall() == []
        verdict = (await rest("GET", f"{AUDIT}/verify")).json()
    assert [seq for seq, _ in chained] == list(range(2, 603))
    assert len({one for _, one in chained}) == 601
    assert (verdict["intact"], verdict["records"]) == (True, 602)


@pytest.mark.parametrize("change", ["", "/retention"])
async def test_a_change_is_recorded_against_what_it_replaced(database, settings, change):
    """L05: also where another change was not committed yet when this one began."""
    async with a_caller(database, settings) as rest:
        one = (await rest("POST", "/api/v1/contexts", json={"title": "first"})).json()["id"]
        with psycopg.connect(database.superuser_url) as other:
            other.execute("UPDATE contexts SET title = 'second' WHERE id = %s", (one,))
            draft = {"expires_at": "2099-01-01T00:00:00Z"} | ({} if change else {"title": "third"})
            changing = asyncio.create_task(rest("PUT", f"/api/v1/contexts/{one}{change}", json=draft))
            await until_blocked(database)
        assert (await changing).status_code == 200
        [updated] = await found(rest, target=f"context:{one}", action="contexts.update")
        now = (await rest("GET", f"/api/v1/contexts/{one}")).json()
    assert updated["arguments"]["before"]["title"] == "second"
    assert updated["arguments"]["after"]["title"] == now["title"]


async def test_a_change_of_a_role_a_user_or_the_tenant_is_recorded_against_what_it_replaced(
    database, settings
):
    """L05"""
    async with a_caller(database, settings) as rest:
        await rest("POST", "/api/v1/roles", json={"name": "r", "grants": ["search:read"]})
        new = {"username": "alice", "name": "Alice", "roles": ["viewer"], "password": PASSWORD}
        user = (await rest("POST", "/api/v1/users", json=new)).json()["id"]
        tenant = f"tenant:{DEFAULT_TENANT_ID}"
        for update, path, draft, target, member in (
            (
                "UPDATE roles SET description = 'x'",
                "roles/r",
                {"grants": ["search:read"]},
                "role:r",
                "description",
            ),
            (
                "UPDATE users SET name = 'x'",
                f"users/{user}",
                {"username": "alice", "name": "A", "roles": ["viewer"]},
                f"user:{user}",
                "name",
            ),
            ("UPDATE tenants SET name = 'x'", "tenants/current", {"name": "Acme"}, tenant, "name"),
        ):
            with psycopg.connect(database.superuser_url) as other:
                other.execute(update)
                changing = asyncio.create_task(rest("PUT", f"/api/v1/{path}", json=draft))
                await until_blocked(database)
            assert (await changing).status_code == 200, path
            latest = (await found(rest, target=target))[0]
            assert latest["arguments"]["before"][member] == "x", path


async def until_blocked(database) -> None:
    """Until a statement of this database waits for a lock."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        async with asyncio.timeout(30):
            while not connection.execute(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchall():
                await asyncio.sleep(0.02)


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

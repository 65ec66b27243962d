"""Rules over REST."""

from typing import Any

import psycopg
import pytest

from devops_mcp.models.ids import new_id
from support.happenings import happen
from support.rest import a_caller
from support.services import new_key, settings_for

RULES = "/api/v1/rules"
TELL: dict[str, Any] = {"kind": "notification", "title": "{{ $.workflow }} broke"}
MERGE = {"Content-Type": "application/merge-patch+json"}
DRAFT: dict[str, Any] = {"name": "red builds", "match": {"types": ["build.*"]}, "action": TELL}


@pytest.fixture
def settings(database, redis_url, tmp_path):
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    return settings_for(database.app_url, redis_url, [files])


def audited(database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute("SELECT action, outcome, arguments FROM audit_log ORDER BY id").fetchall()


async def test_a_rule_is_written_read_changed_stopped_and_deleted_and_all_of_it_audited(database, settings):
    """L05"""
    async with a_caller(database, settings) as rest:
        created = await rest("POST", RULES, json=DRAFT)
        path = f"{RULES}/{created.json()['id']}"
        shown = (await rest("GET", path)).json()
        listed = (await rest("GET", RULES)).json()["items"]
        replaced = (await rest("PUT", path, json={**DRAFT, "match": {"subjects": ["acme/*"]}})).json()
        renamed = (await rest("PATCH", path, json={"name": "renamed"}, headers=MERGE)).json()
        disabled = (await rest("POST", f"{path}/disable")).json()
        enabled = (await rest("POST", f"{path}/enable")).json()
        deleted = await rest("DELETE", path)
        gone = [
            (await rest(method, path + suffix)).status_code
            for method, suffix in [("GET", ""), ("DELETE", ""), ("POST", "/enable"), ("GET", "/runs")]
        ]
    assert (created.status_code, shown, listed) == (201, created.json(), [shown])
    assert (shown["version"], replaced["version"], enabled["version"]) == (1, 2, 3)
    assert (renamed["name"], renamed["match"]) == ("renamed", replaced["match"])
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "disabled by tester")
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    assert (deleted.status_code, gone) == (204, [404] * 4)
    records = audited(database)
    assert [(action, sorted(about)) for action, _, about in records] == [
        ("rules.create", ["after"]),
        ("rules.replace", ["after", "before"]),
        ("rules.replace", ["after", "before"]),
        ("rules.disable", ["after", "before"]),
        ("rules.enable", ["after", "before"]),
        ("rules.delete", ["before"]),
    ]
    assert records[1][2]["before"]["match"]["types"] == ["build.*"]
    assert records[1][2]["after"]["match"]["subjects"] == ["acme/*"]


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"match": {"fields": [{"path": "$..x", "value": 1}]}}, "body.match.fields.0.path"),
    ({"match": {"types": ["build.*", "build.finishd"]}}, "body.match.types.1"),
    ({"action": {**TELL, "title": "{{ subject }}"}}, "body.action.title"),
    ({"action": {"kind": "tool", "tool": "fs_write", "arguments": {}}}, "body.action.destructive"),
    ({"action": {"kind": "shell"}}, "body.action"),
    ({"owner_id": str(new_id())}, "body.owner_id"),
)


async def test_rules_are_listed_page_by_page_and_what_cannot_be_one_is_refused(database, settings):
    """I01: with the place of the fault."""
    async with a_caller(database, settings) as rest:
        made = [(await rest("POST", RULES, json={**DRAFT, "name": str(n)})).json()["id"] for n in range(3)]
        refused = [await rest("POST", RULES, json={**DRAFT, **change}) for change, _ in WRONG]
        first = (await rest("GET", RULES, params={"limit": 2})).json()
        behind = (await rest("GET", RULES, params={"cursor": first["next_cursor"]})).json()
    assert [rule["id"] for rule in first["items"] + behind["items"]] == made[::-1]
    assert behind["next_cursor"] is None
    assert {answer.status_code for answer in refused} == {422}
    places = [answer.json()["violations"][0]["where"] for answer in refused]
    assert places == [where for _, where in WRONG]


async def test_letting_a_tool_lose_something_unattended_takes_a_right_of_its_own(database, settings):
    """A18"""
    losing = {
        "kind": "tool",
        "tool": "fs_write",
        "arguments": {"path": "work/x", "content": ""},
        "destructive": True,
    }
    operator = ("rules:read", "rules:write", "events:read", "tools:*")
    async with a_caller(database, settings, *operator) as rest:
        refused = await rest("POST", RULES, json={**DRAFT, "action": losing})
        rest.http.headers["X-API-Key"] = await new_key(database.owner_url, *operator, "rules:destructive")
        allowed = await rest("POST", RULES, json={**DRAFT, "action": losing})
    assert (refused.status_code, allowed.status_code) == (403, 201)
    assert [(action, outcome) for action, outcome, _ in audited(database)] == [
        ("rules.destructive", "denied"),
        ("rules.create", "ok"),
    ]


async def test_a_rule_is_tried_on_stored_events_before_and_after_it_is_written(database, redis_url, settings):
    await happen(database.worker_url, redis_url, 1, 2, 3)
    async with a_caller(database, settings) as rest:
        tried = (await rest("POST", f"{RULES}/dry-run", json={"rule": DRAFT, "limit": 2})).json()
        later = {"rule": DRAFT, "since": "2999-01-01T00:00:00Z"}
        nothing = (await rest("POST", f"{RULES}/dry-run", json=later)).json()
        wrong = await rest(
            "POST", f"{RULES}/dry-run", json={"rule": {**DRAFT, "action": {**TELL, "title": "{{"}}}
        )
        path = f"{RULES}/{(await rest('POST', RULES, json=DRAFT)).json()['id']}"
        again = (await rest("POST", f"{path}/dry-run", json={"cursor": tried["next_cursor"]})).json()
        runs = (await rest("GET", f"{path}/runs")).json()
    assert [item["title"] for item in tried["items"]] == ["CI #3 failed on main", "CI #2 failed on main"]
    assert [item["title"] for item in again["items"]] == ["CI #1 failed on main"]
    assert again["items"][0]["action"]["title"] == "CI broke"
    assert (nothing["items"], nothing["scanned"], again["next_cursor"]) == ([], 0, None)
    assert (wrong.status_code, runs["items"]) == (422, [])

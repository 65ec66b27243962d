"""Agents over REST: registered by themselves or by who manages them, alive while they say so, found by what they can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import psycopg

from devops_mcp.models.ids import new_id
from support.rest import Rest, a_caller
from support.services import new_key, settings_for
from support.tenants import add_tenant

AGENTS = "/api/v1/agents"
ME, OTHER = new_id(), new_id()
MERGE = {"Content-Type": "application/merge-patch+json"}
MODEL = {"name": "small", "provider": "openai", "dimensions": 8, "base_url": "http://127.0.0.1:9"}


@asynccontextmanager
async def an_agent(database, redis_url, role: str = "agent") -> AsyncIterator[tuple[Rest, dict[str, str]]]:
    """An agent's key, `ME`, and the headers of another agent's, `OTHER`."""
    settings = settings_for(database.app_url, redis_url, embedding_models=[MODEL])
    other = await new_key(database.owner_url, "prompts:read:none", id=OTHER, roles=("agent",))
    async with a_caller(database, settings, "prompts:read:none", id=ME, roles=(role,)) as rest:
        yield rest, {"X-API-Key": other}


def beaten(database, agent_id: UUID, ago: str) -> None:
    """Let the agent's last heartbeat be that long ago."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("UPDATE agents SET seen_at = now() - %s::interval WHERE id = %s", (ago, agent_id))


def audited(database) -> list[tuple[str, str, str]]:
    with psycopg.connect(database.superuser_url) as connection:
        return connection.execute(
            "SELECT action, target, outcome FROM audit_log WHERE action LIKE 'agents.%' ORDER BY id"
        ).fetchall()


def names(answer: httpx2.Response) -> list[str]:
    return [agent["name"] for agent in answer.json()["items"]]


async def test_an_agent_registers_itself_and_is_what_its_heartbeats_say(database, redis_url):
    """G01: alive for 30 s after a heartbeat, lost behind that, back with the next."""
    draft: dict[str, Any] = {"name": "fixer", "capabilities": ["kubernetes", "github.review"]}
    async with an_agent(database, redis_url) as (rest, _):
        registered = (await rest("POST", AGENTS, json=draft)).json()
        twice = await rest("POST", AGENTS, json=draft)
        one = f"{AGENTS}/{ME}"
        idle = (await rest("POST", f"{one}/heartbeat", json={})).json()
        busy = {"state": "busy", "able": ["kubernetes"]}
        busy = (await rest("POST", f"{one}/heartbeat", json=busy)).json()
        draining = (await rest("POST", f"{one}/heartbeat", json={"state": "draining"})).json()
        await rest("POST", f"{one}/heartbeat", json={})
        beaten(database, ME, "20 s")
        late = (await rest("GET", one)).json()
        beaten(database, ME, "31 s")
        lost = (await rest("GET", one)).json()
        back = (await rest("POST", f"{one}/heartbeat", json={})).json()
        wrong = [
            await rest("POST", f"{one}/heartbeat", json=beat)
            for beat in ({"able": ["flying"]}, {"state": "lost"}, {"seen_at": "2020-01-01T00:00:00Z"})
        ]
        unknown = await rest("POST", f"{AGENTS}/{new_id()}/heartbeat", json={})
    both = ["github.review", "kubernetes"]
    assert (registered["id"], registered["state"], registered["able"]) == (str(ME), "registered", [])
    assert twice.status_code == 409
    states = [(seen["state"], seen["able"]) for seen in (idle, busy, draining, late, lost, back)]
    assert states == [
        ("idle", both),
        ("busy", ["kubernetes"]),
        ("draining", []),
        ("idle", both),
        ("lost", []),
        ("idle", both),
    ]
    assert idle["seen_at"] < idle["lives_until"]
    assert [answer.status_code for answer in wrong] == [422] * 3
    assert unknown.status_code == 404


async def test_an_agent_acts_for_itself_only_and_an_admin_for_all(database, redis_url):
    """G01, L05"""
    async with an_agent(database, redis_url) as (rest, other):
        admin = {"X-API-Key": await new_key(database.owner_url, "prompts:read:none", roles=("admin",))}
        forbidden = [await rest("POST", AGENTS, json={"name": "x", "principal_id": str(OTHER)})]
        by_admin = {"name": "theirs", "principal_id": str(OTHER), "embedding_model": "small"}
        made = await rest("POST", AGENTS, json=by_admin, headers=admin)
        one = f"{AGENTS}/{OTHER}"
        forbidden += [
            await rest("POST", f"{one}/heartbeat", json={}),
            await rest("PUT", one, json={"name": "mine"}),
            await rest("DELETE", one),
            await rest("POST", f"{one}/heartbeat", json={}, headers=admin),
        ]
        own = await rest("POST", f"{one}/heartbeat", json={}, headers=other)
        nobody = await rest("POST", AGENTS, json={"name": "x", "principal_id": str(new_id())}, headers=admin)
        no_model = await rest("POST", AGENTS, json={"name": "x", "embedding_model": "none"})
        chosen = (await rest("GET", "/api/v1/models", headers=other)).json()["mine"]
        plain = await rest("PATCH", one, json={"embedding_model": None}, headers={**other, **MERGE})
        gone = [await rest("DELETE", one, headers=admin), await rest("GET", one)]
    assert [answer.status_code for answer in forbidden] == [403] * 5
    assert (made.status_code, own.status_code) == (201, 200)
    assert (made.json()["embedding_model"], chosen["model"]) == ("small", "small")
    assert plain.json()["embedding_model"] is None
    assert (nobody.status_code, no_model.status_code) == (422, 404)
    assert [answer.status_code for answer in gone] == [204, 404]
    changes = [
        (action, outcome) for action, target, outcome in audited(database) if target == f"agent:{OTHER}"
    ]
    assert changes == [
        ("agents.any_owner", "denied"),
        ("agents.register", "ok"),
        ("agents.heartbeat", "denied"),
        ("agents.any_owner", "denied"),
        ("agents.any_owner", "denied"),
        ("agents.heartbeat", "denied"),
        ("agents.update", "ok"),
        ("agents.delete", "ok"),
    ]


async def test_agents_are_found_by_what_they_can_do_and_how_they_are(database, redis_url):
    async with an_agent(database, redis_url, role="admin") as (rest, other):
        await rest("POST", AGENTS, json={"name": "b", "capabilities": ["kubernetes", "helm"]})
        await rest("POST", AGENTS, json={"name": "a", "capabilities": ["kubernetes"]}, headers=other)
        await rest("POST", f"{AGENTS}/{ME}/heartbeat", json={"able": ["helm"]})
        found = {
            query: names(await rest("GET", f"{AGENTS}?{query}"))
            for query in (
                "sort=name",
                "capability=kubernetes&sort=-name",
                "capability=helm",
                "able=kubernetes",
                "able=helm",
                "state=idle",
                "state=registered",
                "name=B",
            )
        }
        first = (await rest("GET", f"{AGENTS}?sort=name&limit=1")).json()
        rest_of_it = await rest("GET", f"{AGENTS}?sort=name&limit=1&cursor={first['next_cursor']}")
        refused = [await rest("GET", f"{AGENTS}?{query}") for query in ("sort=able", "state=x", "color=red")]
    assert found == {
        "sort=name": ["a", "b"],
        "capability=kubernetes&sort=-name": ["b", "a"],
        "capability=helm": ["b"],
        "able=kubernetes": [],
        "able=helm": ["b"],
        "state=idle": ["b"],
        "state=registered": ["a"],
        "name=B": ["b"],
    }
    assert names(rest_of_it) == ["b"]
    assert [answer.status_code for answer in refused] == [422] * 3


async def test_an_edit_is_not_lost_to_another_and_not_refused_for_a_heartbeat(database, redis_url):
    async with an_agent(database, redis_url) as (rest, _):
        draft: dict[str, Any] = {"name": "fixer", "capabilities": ["helm"], "metadata": {"team": "shop"}}
        await rest("POST", AGENTS, json=draft)
        one = f"{AGENTS}/{ME}"
        seen = (await rest("GET", one)).headers["etag"]
        await rest("POST", f"{one}/heartbeat", json={})
        beating = await rest("GET", one, headers={"If-None-Match": seen})
        patch = {"capabilities": ["github"], "metadata": {"team": None}}
        edited = await rest("PATCH", one, json=patch, headers={**MERGE, "If-Match": seen})
        late = await rest("PUT", one, json={"name": "x"}, headers={"If-Match": seen})
        after = await rest("PUT", one, json={"name": "y"}, headers={"If-Match": edited.headers["etag"]})
        removed = await rest("DELETE", one, headers={"If-Match": after.headers["etag"]})
    assert (beating.status_code, beating.json()["state"]) == (200, "idle")
    assert edited.status_code == 200
    assert (edited.json()["capabilities"], edited.json()["able"]) == (["github"], ["github"])
    assert (edited.json()["name"], edited.json()["metadata"]) == ("fixer", {})
    assert late.status_code == 412
    assert (after.json()["name"], after.json()["capabilities"]) == ("y", [])
    assert removed.status_code == 204


async def test_an_agent_is_its_tenants_own_and_goes_with_its_user(database, redis_url):
    """T01"""
    tenant = new_id()
    add_tenant(database, tenant)
    async with an_agent(database, redis_url, role="owner") as (rest, _):
        stranger = {"X-API-Key": await new_key(database.owner_url, tenant_id=tenant)}
        user = {"username": "ann", "name": "Ann", "roles": ["developer"]}
        user_id = (await rest("POST", "/api/v1/users", json=user)).json()["id"]
        made = await rest("POST", AGENTS, json={"name": "hers", "principal_id": user_id})
        theirs = await rest("POST", AGENTS, json={"name": "x", "principal_id": user_id}, headers=stranger)
        hidden = [
            await rest("GET", AGENTS, headers=stranger),
            await rest("GET", f"{AGENTS}/{user_id}", headers=stranger),
        ]
        await rest("DELETE", f"/api/v1/users/{user_id}")
        left = await rest("GET", f"{AGENTS}/{user_id}")
    assert (made.status_code, theirs.status_code) == (201, 422)
    assert (hidden[0].json()["items"], hidden[1].status_code, left.status_code) == ([], 404, 404)

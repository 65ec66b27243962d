"""Quotas: said over REST, and held on every transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx2
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from support.agents import STATELESS, TRANSPORTS, agent
from support.rest import Rest, a_caller
from support.services import new_key, running_mcp, settings_for
from support.tenants import add_tenant

pytestmark = pytest.mark.usefixtures("one_day")

QUOTAS = "/api/v1/quotas"
OF_TENANT = f"/api/v1/tenants/{DEFAULT_TENANT_ID}/quotas"
CALL = "/api/v1/tools/context_list/call"
ME, AGENT = new_id(), new_id()
WITHIN_S = 30.0


@asynccontextmanager
async def an_admin(database, redis_url, **settings: Any) -> AsyncIterator[tuple[Rest, str]]:
    """A caller that may do everything, and an agent's key."""
    key = await new_key(database.owner_url, "search:read", id=AGENT, roles=("agent",))
    async with a_caller(database, settings_for(database.app_url, redis_url, **settings), id=ME) as rest:
        yield rest, key


async def limited(rest: Rest, path: str, **quotas: int) -> None:
    assert (await rest("PUT", path, json=quotas)).status_code == 200


async def until_refused(client) -> int:
    """How many calls are answered until a quota is used up."""
    async with asyncio.timeout(WITHIN_S):
        for answered in count():
            await asyncio.sleep(0.01)
            result = await client.call_tool("context_list", {})
            if result.is_error:
                assert "quota_exceeded" in result.content[0].text
                return answered
    raise AssertionError("nothing was refused")


async def denials(rest: Rest, count: int) -> list[tuple[str, ...]]:
    """Who was refused what, and with which error, once so many are recorded."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            entries = (await rest("GET", "/api/v1/audit?outcome=denied")).json()["items"]
            if len(entries) >= count:
                return [tuple(one[name] for name in ("actor_id", "target", "error_code")) for one in entries]
            await asyncio.sleep(0.05)


def of(answer: httpx2.Response) -> dict[str, Any]:
    """The one standing in an answer."""
    [standing] = answer.json()["standings"]
    return standing


async def test_a_call_beyond_the_quota_is_refused_and_told_when_it_renews(database, redis_url):
    """L05: who may call how often is audited as every change is, and who was refused for it as every denial."""
    async with an_admin(database, redis_url) as (rest, key):
        await limited(rest, f"{QUOTAS}/{AGENT}", tool_calls_per_day=2, tool_calls_per_month=50)
        as_agent = {"X-API-Key": key}
        answers = [await rest("POST", CALL, json={}, headers=as_agent) for _ in range(4)]
        others = await rest("POST", CALL, json={})
        in_force = (await rest("GET", f"{QUOTAS}/in-force", headers=as_agent)).json()
        await limited(rest, f"{QUOTAS}/{AGENT}", tool_calls_per_day=3)
        more = [await rest("POST", CALL, json={}, headers=as_agent) for _ in range(2)]
        await limited(rest, f"{QUOTAS}/{AGENT}")
        free = await rest("POST", CALL, json={}, headers=as_agent)
        log = (await rest("GET", "/api/v1/audit?action=quotas.put&limit=3")).json()["items"]
        denied = await denials(rest, 3)
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    problem, tomorrow = answers[2].json(), datetime.now(UTC).date() + timedelta(days=1)
    assert (problem["code"], problem["retryable"]) == ("quota_exceeded", False)
    assert problem["quota"] == {
        "quota": "tool_calls_per_day",
        "of": "principal",
        "limit": 2,
        "used": 2,
        "renews_at": problem["quota"]["renews_at"],
    }
    assert problem["quota"]["renews_at"].startswith(f"{tomorrow}T00:00:00")
    assert 0 < int(answers[2].headers["retry-after"]) <= 86_400
    assert others.status_code == 200
    assert [one["limit"] for one in in_force["own"]["standings"]] == [2, 50]
    assert in_force["tenant"]["standings"] == []
    assert [answer.status_code for answer in (*more, free)] == [200, 429, 200]
    assert denied == [(str(AGENT), "context_list", "quota_exceeded")] * 3
    assert [entry["arguments"] for entry in log] == [
        {"before": {"tool_calls_per_day": 3}, "after": {}},
        {"before": {"tool_calls_per_day": 2, "tool_calls_per_month": 50}, "after": {"tool_calls_per_day": 3}},
        {"before": {}, "after": {"tool_calls_per_day": 2, "tool_calls_per_month": 50}},
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_agents_are_held_to_it_over_mcp_within_seconds_of_its_being_said(
    database, redis_url, transport
):
    settings = settings_for(database.app_url, redis_url, tool_calls_per_s=0)
    async with (
        an_admin(database, redis_url) as (rest, key),
        running_mcp(settings) as url,
        agent(transport, url, key, STATELESS) as client,
    ):
        assert not (await client.call_tool("context_list", {})).is_error
        await limited(rest, OF_TENANT, tool_calls_per_day=5)
        answered = await until_refused(client)
        refused = await rest("POST", CALL, json={})
    assert answered >= 4
    assert (refused.status_code, refused.json()["quota"]["of"]) == (429, "tenant")


async def test_tokens_that_tools_gave_back_are_counted(database, redis_url):
    async with an_admin(database, redis_url) as (rest, key):
        await limited(rest, f"{QUOTAS}/{AGENT}", tool_tokens_per_month=1)
        as_agent = {"X-API-Key": key}
        answers = [await rest("POST", CALL, json={}, headers=as_agent) for _ in range(2)]
        async with asyncio.timeout(WITHIN_S):
            while of(shown := await rest("GET", f"{QUOTAS}/{AGENT}"))["used"] == 0:
                await asyncio.sleep(0.05)
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["quota"]["quota"] == "tool_tokens_per_month"
    assert of(shown)["used"] > 1


async def test_vectors_are_refused_before_they_are_paid_for(database, redis_url):
    models = [{"name": "m", "provider": "openai", "dimensions": 8, "base_url": "http://127.0.0.1:9"}]
    async with an_admin(database, redis_url, embedding_models=models) as (rest, _):
        await limited(rest, OF_TENANT, embedding_tokens_per_day=10)
        answer = await rest("POST", "/api/v1/embeddings", json={"input": ["more than ten words " * 10]})
        denied = await denials(rest, 1)
    assert denied == [(str(ME), "/api/v1/embeddings", "quota_exceeded")]
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert answer.json()["quota"]["quota"] == "embedding_tokens_per_day"


async def test_quotas_are_read_and_changed_like_any_resource_and_by_whom_they_are_for(database, redis_url):
    """T01"""
    tenant = new_id()
    add_tenant(database, tenant)
    async with an_admin(database, redis_url) as (rest, key):
        one = f"{QUOTAS}/{AGENT}"
        none = await rest("GET", one)
        await limited(rest, one, tool_calls_per_day=7)
        await limited(rest, OF_TENANT, tool_calls_per_day=9)
        merge = {"Content-Type": "application/merge-patch+json", "If-Match": none.headers["etag"]}
        late = await rest("PATCH", one, json={"tool_tokens_per_day": 3}, headers=merge)
        merge["If-Match"] = (await rest("GET", one)).headers["etag"]
        patched = await rest("PATCH", one, json={"tool_tokens_per_day": 3}, headers=merge)
        first = (await rest("GET", f"{QUOTAS}?limit=1")).json()
        second = (await rest("GET", f"{QUOTAS}?limit=1&cursor={first['next_cursor']}")).json()
        owner = {"X-API-Key": await new_key(database.owner_url, tenant_id=tenant)}
        theirs = [
            await rest("PUT", f"/api/v1/tenants/{tenant}/quotas", json={}, headers=owner),
            await rest("PUT", one, json={}, headers=owner),
            await rest("PUT", one, json={"tool_calls_per_day": 1}, headers={"X-API-Key": key}),
            await rest("PUT", one, json={"tool_calls_per_day": -1}),
            await rest("PUT", f"{QUOTAS}/{new_id()}", json={}),
            await rest("GET", f"/api/v1/tenants/{new_id()}/quotas"),
        ]
        await limited(rest, f"/api/v1/tenants/{tenant}/quotas", tool_calls_per_month=1)
        in_force = (await rest("GET", f"{QUOTAS}/in-force", headers=owner)).json()["tenant"]
    assert (none.json()["standings"], late.status_code) == ([], 412)
    assert (patched.json()["tool_calls_per_day"], patched.json()["tool_tokens_per_day"]) == (7, 3)
    assert [page["items"][0]["principal_id"] for page in (first, second)] == [None, str(AGENT)]
    assert [answer.status_code for answer in theirs] == [403, 404, 403, 422, 404, 404]
    assert (in_force["tool_calls_per_month"], in_force["standings"][0]["limit"]) == (1, 1)

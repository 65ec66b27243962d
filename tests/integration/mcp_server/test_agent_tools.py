"""Agents over MCP: present themselves, say that they live, and find who can do what; the same agents as over REST."""

from typing import Any

import psycopg

from support.agents import STATELESS, agent
from support.rest import a_caller
from support.services import new_key, running_mcp, settings_for

MODEL = {"name": "small", "provider": "openai", "dimensions": 8, "base_url": "http://127.0.0.1:9"}


async def told(client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool("tools_call", {"name": tool, "arguments": arguments})
    assert not answer.is_error, answer.content[0].text
    return answer.structured_content


async def refused(client, tool: str, /, **arguments: Any) -> str:
    answer = await client.call_tool("tools_call", {"name": tool, "arguments": arguments})
    assert answer.is_error
    return answer.content[0].text


async def test_an_agent_presents_itself_lives_and_is_found(database, redis_url):
    """G01: what it is not asked to say again, such as its embedding model, stays as it was."""
    settings = settings_for(database.app_url, redis_url, embedding_models=[MODEL])
    fixer = await new_key(database.owner_url, "prompts:read:none", roles=("agent",))
    other = await new_key(database.owner_url, "prompts:read:none", roles=("agent",))
    async with running_mcp(settings) as url, agent("ws", url, fixer, STATELESS) as client:
        found = await client.call_tool("tools_search", {"query": "present yourself as an agent"})
        silent = await refused(client, "agent_heartbeat")
        await told(client, "agent_register", name="x", dry_run=True)
        none = await told(client, "agent_list")
        first = await told(client, "agent_register", name="fixer", capabilities=["helm"])
        async with a_caller(database, settings, "prompts:read:none", roles=("admin",)) as rest:
            one = f"/api/v1/agents/{first['data']['agent_id']}"
            merge = {"Content-Type": "application/merge-patch+json"}
            await rest("PATCH", one, json={"embedding_model": "small"}, headers=merge)
            again = await told(client, "agent_register", name="fixer", capabilities=["helm", "kubernetes"])
            seen = (await rest("GET", one)).json()
        beat = await told(client, "agent_heartbeat", able=["helm"])
        unable = await refused(client, "agent_heartbeat", able=["flying"])
        async with agent("ws", url, other, STATELESS) as another:
            await told(another, "agent_register", name="reviewer", capabilities=["github.review"])
            able = await told(another, "agent_list", able="helm")
            page = await told(another, "agent_list", limit=1)
            last = await told(another, "agent_list", limit=1, cursor=page["next_cursor"])
    assert found.structured_content["items"][0]["name"] == "agent_register"
    assert "present yourself with agent_register first" in silent
    assert none["items"] == []
    assert again["data"] == {
        "agent_id": first["data"]["agent_id"],
        "capabilities": ["helm", "kubernetes"],
        "state": "registered",
    }
    assert (seen["embedding_model"], seen["capabilities"]) == ("small", ["helm", "kubernetes"])
    assert beat["data"]["able"] == ["helm"]
    assert beat["data"]["lives_until"] > seen["registered_at"]
    assert "none of the agent's capabilities" in unable
    assert [(who["name"], who["state"], who["able"]) for who in able["items"]] == [
        ("fixer", "idle", ["helm"])
    ]
    assert {who["name"] for who in (*page["items"], *last["items"])} == {"fixer", "reviewer"}
    assert "next_cursor" not in last


async def test_a_heartbeat_leaves_a_trace_only_when_it_failed_and_uses_up_no_quota(
    database, redis_url, one_day
):
    """G01, L05: it is refused as any call is."""
    key = await new_key(database.owner_url, "prompts:read:none", roles=("agent",))
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO quotas (tenant_id, principal_id, tool_calls_per_day) SELECT tenant_id, id, 2 FROM api_keys"
        )
        async with (
            running_mcp(settings_for(database.mcp_url, redis_url)) as url,
            agent("ws", url, key, STATELESS) as client,
        ):
            await told(client, "agent_register", name="fixer", capabilities=["helm"])
            beats = [await told(client, "agent_heartbeat") for _ in range(3)]
            unable = await refused(client, "agent_heartbeat", able=["flying"])
            await told(client, "agent_list")
            over = await refused(client, "agent_list")
            beats.append(await told(client, "agent_heartbeat", state="busy"))
        recorded = connection.execute(
            "SELECT target, outcome FROM audit_log WHERE action LIKE 'tool.%' ORDER BY at"
        ).fetchall()
        used = connection.execute("SELECT tool, calls FROM tool_usage ORDER BY 1").fetchall()
    assert [beat["done"] for beat in beats] == ["you are idle"] * 3 + ["you are busy"]
    assert "none of the agent's capabilities" in unable
    assert over.startswith("quota_exceeded")
    assert recorded == [
        ("agent_register", "ok"),
        ("agent_heartbeat", "failed"),
        ("agent_list", "ok"),
        ("agent_list", "denied"),
    ]
    assert used == [("agent_list", 1), ("agent_register", 1)]


async def test_who_may_call_the_tool_and_not_be_an_agent_is_refused(database, redis_url):
    """A18: the tool asks for the same permission as the route."""
    key = await new_key(database.owner_url, "tools:*")
    async with (
        running_mcp(settings_for(database.mcp_url, redis_url)) as url,
        agent("ws", url, key, STATELESS) as client,
    ):
        writes = [
            await refused(client, tool, **arguments, dry_run=dry_run)
            for tool, arguments in (("agent_register", {"name": "x"}), ("agent_heartbeat", {}))
            for dry_run in (False, True)
        ]
        listed = await refused(client, "agent_list")
    assert all("lacks the permission 'agents:write'" in text for text in writes)
    assert "lacks the permission 'agents:read'" in listed

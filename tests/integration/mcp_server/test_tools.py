"""mcp-server over both transports and in both eras, with the protocol's own Python client."""

import json

import psycopg
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from psycopg.rows import dict_row

from mcp_server.handlers.rates import RATE_LIMITED
from mcp_server.handlers.resources import CONTEXT_BYTES
from support.agents import ERAS, TRANSPORTS, agent
from support.channels import STATELESS, asking, channel, opening
from support.handshake import REVISIONS
from support.services import new_key, running_mcp, settings_for

A_VALUE = {"name": "x", "value": ""}
every_way = [pytest.param(t, e, id=f"{t}-{e}") for t in TRANSPORTS for e in ERAS]


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    return settings_for(database.mcp_url, redis_url, [files])


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_an_agent_lists_and_calls_tools(database, settings, transport, era):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era, view="/x/fs") as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("fs_read", {"path": "work/notes.txt"})
    assert {"context_create", "context_search", "tools_search", "fs_read"} <= set(names)
    assert names == sorted(names)
    assert not result.is_error
    assert "hello" in result.content[0].text


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_wrong_arguments_are_a_tool_error_that_names_them(database, settings, transport, era):
    """J03"""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era) as client:
        result = await client.call_tool("context_create", {"title": "x", "colour": "red"})
    assert result.is_error
    assert "arguments.colour" in result.content[0].text


@pytest.mark.parametrize("revision", [REVISIONS[-1], STATELESS])
async def test_what_was_asked_for_comes_back_in_part_only(database, settings, revision):
    """S03: what is said of it is kept for a client that does not read."""
    key, long = await new_key(database.owner_url), "x" * 500_000
    wanted = (
        (long, {}),
        ("tools/call", {"name": long, "arguments": {}}),
        ("prompts/get", {"name": long}),
        ("prompts/get", {"name": "triage_alert", "arguments": {f"a{i}": "" for i in range(10_000)}}),
        ("resources/read", {"uri": f"devops://contexts/{long}"}),
        ("resources/read", {"uri": f"{long}://x"}),
        ("skills/get", {"uri": f"skill://{long}"}),
        ("resources/directory/read", {"uri": f"skill://{long}"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": long}, "argument": A_VALUE}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": long}, "argument": A_VALUE}),
    )
    async with running_mcp(settings) as url, channel("ws", url, key, revision) as ask:
        await ask(json.dumps(opening(revision) | {"id": 0}))
        for method, params in wanted:
            answer = await ask(json.dumps(asking(revision, method, **params) | {"id": 1}))
            assert answer is not None
            assert "error" in answer, method[:50]
            assert len(json.dumps(answer)) < 50_000, method[:50]


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_tool_beyond_the_callers_grants_is_neither_listed_nor_called(
    database, settings, transport, era
):
    """O09"""
    key = await new_key(database.owner_url, "tools:read:*", "contexts:read")
    async with running_mcp(settings) as url, agent(transport, url, key, era) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "context_create" not in names
        with pytest.raises(MCPError, match="there is no tool 'context_create'"):
            await client.call_tool("context_create", {"title": "x"})


async def asked_until_refused(client: Client) -> MCPError:
    for _ in range(6):
        try:
            await client.list_resources()
        except MCPError as error:
            return error
    raise AssertionError("asked as often as it likes")


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_who_asks_too_often_for_what_is_no_call_is_told_so_and_may_still_call(
    database, redis_url, transport, era
):
    settings = settings_for(database.mcp_url, redis_url, requests_per_s=0.001, requests_burst=5)
    key, other = await new_key(database.owner_url), await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era) as client:
        await client.list_tools()
        refused = await asked_until_refused(client)
        described = await client.call_tool("tools_describe", {"names": ["task_get"]})
        async with agent(transport, url, other, era) as another:
            assert (await another.list_resources()).resources
    assert refused.error.code == RATE_LIMITED
    assert refused.error.data["retry_after_s"] > 0
    assert not described.is_error


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_context_is_kept_and_read_as_a_resource(database, settings, transport, era):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era) as client:
        created = await client.call_tool("context_create", {"title": "checkout incident"})
        context_id = created.structured_content["data"]["context_id"]
        await client.call_tool(
            "context_append", {"context_id": context_id, "items": [{"text": "the cache was cold"}]}
        )
        found = await client.call_tool("context_search", {"query": "why was the cache slow"})
        briefly = await client.call_tool(
            "context_search", {"query": "slow cache", "fields": ["uri", "why"], "prefer_recent": True}
        )
        resources = await client.list_resources()
        read = await client.read_resource(f"devops://contexts/{context_id}")
    assert found.structured_content["items"][0]["text"] == "the cache was cold"
    [only] = briefly.structured_content["items"]
    assert set(only) == {"uri", "why"}
    assert only["why"].startswith("words #1")
    assert f"devops://contexts/{context_id}" in [str(resource.uri) for resource in resources.resources]
    assert "the cache was cold" in read.contents[0].text


async def test_a_context_that_is_large_is_shown_as_a_resource_as_far_as_it_fits(database, settings):
    """S03: a hundred items of 200 KB were twenty MB for each who asked."""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, ERAS[-1]) as client:
        created = await client.call_tool("context_create", {"title": "long"})
        context_id = created.structured_content["data"]["context_id"]
        for texts in (["x" * 150_000, "brief"], ["y" * 31_000] * 4):
            items = [{"text": text} for text in texts]
            await client.call_tool("context_append", {"context_id": context_id, "items": items})
        [read] = (await client.read_resource(f"devops://contexts/{context_id}")).contents
    shown = json.loads(read.text)
    assert len(read.text) <= CONTEXT_BYTES
    assert shown["context"]["item_count"] == 6
    assert [item["position"] for item in shown["items"]] == [1, 2, 3]
    first, second, third = (item["text"] for item in shown["items"])
    assert (first[:10], first[-1], second, third) == ("x" * 10, "…", "brief", "y" * 31_000)


async def test_a_change_of_a_context_leaves_what_was_asked_and_what_it_did(database, settings):
    """L05: two records of one trace; neither says what the other does."""
    key = await new_key(database.owner_url)
    arguments = {"title": "checkout incident", "idempotency_key": "once"}
    async with running_mcp(settings) as url, agent("ws", url, key, ERAS[-1]) as client:
        created = await client.call_tool("context_create", arguments)
    target = f"context:{created.structured_content['data']['context_id']}"
    async with await psycopg.AsyncConnection.connect(database.superuser_url, row_factory=dict_row) as sql:
        found = await sql.execute("SELECT * FROM audit_log WHERE action IN ('tool.write', 'contexts.create')")
        by_action = {record["action"]: record for record in await found.fetchall()}
    asked, done = by_action["tool.write"], by_action["contexts.create"]
    assert (asked["target"], asked["arguments"]) == ("context_create", arguments)
    assert (done["target"], done["arguments"]["after"]["title"]) == (target, "checkout incident")
    assert asked["trace_id"] == done["trace_id"] is not None
    assert asked["duration_ms"] > done["duration_ms"] == 0

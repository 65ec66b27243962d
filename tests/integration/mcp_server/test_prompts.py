"""Prompts gather their data through the tools, as who chose them; arguments and templates complete; a context is summed up."""

from typing import Any

import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError

from support.agents import ERAS, STATELESS, TRANSPORTS, agent
from support.services import new_key, running_mcp, settings_for

every_way = [pytest.param(t, e, id=f"{t}-{e}") for t in TRANSPORTS for e in ERAS]


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


async def remembered(client: Any, text: str) -> str:
    created = await client.call_tool("context_create", {"title": "checkout incident"})
    context_id = created.structured_content["data"]["context_id"]
    await client.call_tool("context_append", {"context_id": context_id, "items": [{"text": text}]})
    return str(context_id)


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_prompt_brings_what_its_tools_know(database, settings, transport, era):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era) as client:
        await remembered(client, "CheckoutSlow was a full connection pool the last time")
        names = [prompt.name for prompt in (await client.list_prompts()).prompts]
        triage = await client.get_prompt("triage_alert", {"alert": "CheckoutSlow"})
    assert names == ["prepare_change", "review_pipeline", "triage_alert", "write_timeline"]
    text = triage.messages[0].content.text
    assert "The alert: CheckoutSlow" in text
    assert "full connection pool" in text


async def test_a_prompt_reads_only_what_its_reader_may(database, settings):
    owner, reader = await new_key(database.owner_url), await new_key(database.owner_url, "prompts:*")
    async with running_mcp(settings) as url:
        async with agent("ws", url, owner, STATELESS) as client:
            await remembered(client, "a secret finding about CheckoutSlow")
        async with agent("ws", url, reader, STATELESS) as client:
            triage = await client.get_prompt("triage_alert", {"alert": "CheckoutSlow"})
    assert "secret finding" not in triage.messages[0].content.text


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("triage_alert", {}, "arguments.alert: is missing"),
        ("triage_alert", {"alert": "x", "colour": "red"}, "arguments.colour"),
        ("prepare_change", {"repository": "a/b", "number": "seven"}, "arguments.number: not a number"),
        ("nothing", {}, "there is no prompt"),
    ],
)
async def test_wrong_arguments_are_named(database, settings, name, arguments, said):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS) as client:
        with pytest.raises(MCPError, match=said):
            await client.get_prompt(name, arguments)


async def test_a_context_template_completes_with_the_callers_own(database, settings):
    keys = [await new_key(database.owner_url, "tools:*", "contexts:read", "contexts:write") for _ in "ab"]
    template = types.ResourceTemplateReference(type="ref/resource", uri="devops://contexts/{context_id}")
    async with running_mcp(settings) as url:
        async with agent("ws", url, keys[0], STATELESS) as client:
            mine = await remembered(client, "x")
            found = await client.complete(template, {"name": "context_id", "value": mine[:8]})
        async with agent("ws", url, keys[1], STATELESS) as client:
            others = await client.complete(template, {"name": "context_id", "value": mine[:8]})
    assert found.completion.values == [mine]
    assert others.completion.values == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_context_is_summed_up_by_the_model_that_the_client_lends(database, settings, era):
    key, asked = await new_key(database.owner_url), []

    async def model(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        asked.append(params.messages[0].content.text)  # type: ignore[union-attr]
        said = types.TextContent(type="text", text="The pool was full.")
        return types.CreateMessageResult(role="assistant", content=said, model="lent-model")

    async with (
        running_mcp(settings) as url,
        agent("ws", url, key, era, view="/x/suite", sampling_callback=model) as client,
    ):
        context_id = await remembered(client, "the connection pool of checkout is full")
        summed = await client.call_tool("context_summarize", {"context_id": context_id})
        read = await client.call_tool("context_get", {"context_id": context_id})
    assert summed.structured_content["data"]["made_by"] == "lent-model"
    assert "connection pool of checkout" in asked[0]
    assert read.structured_content["items"][-1] | {"created_at": ""} == {
        "position": 2,
        "kind": "summary",
        "text": "The pool was full.",
        "created_at": "",
    }


async def test_without_a_model_the_context_speaks_for_itself(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS, view="/x/suite") as client:
        context_id = await remembered(client, "The connection pool of checkout is full. It rains.")
        summed = await client.call_tool("context_summarize", {"context_id": context_id})
    assert summed.structured_content["data"]["made_by"] == "extractive"
    assert "connection pool of checkout" in summed.structured_content["data"]["summary"]

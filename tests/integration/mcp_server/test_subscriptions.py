"""What an agent watches: a context that another connection writes to, a task that ends; and what it may not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from websockets.asyncio.client import connect

from mcp_server.transports.under_way import MAX_ENDLESS, TOO_MANY
from support.agents import ERAS, HANDSHAKE, STATELESS, TRANSPORTS, agent
from support.channels import STATELESS as REVISION
from support.channels import asking
from support.services import new_key, running_mcp, settings_for

every_way = [pytest.param(t, e, id=f"{t}-{e}") for t in TRANSPORTS for e in ERAS]
WITHIN_S = 30


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


class Listener:
    """A connected agent, and the addresses it was told of."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: asyncio.Queue[str] = asyncio.Queue()


@asynccontextmanager
async def a_listener(transport: str, url: str, key: str, era: str, uri: str) -> AsyncIterator[Listener]:
    heard: list[Listener] = []

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard[0].told.put_nowait(str(message.params.uri))

    async with agent(transport, url, key, era, message_handler=on_message) as client:
        heard.append(Listener(client))
        if era == HANDSHAKE:
            await client.subscribe_resource(uri)
            yield heard[0]
            return
        async with client.listen(resource_subscriptions=[uri]) as stream:
            pumping = asyncio.create_task(_pump(stream, heard[0]))
            yield heard[0]
            pumping.cancel()


async def _pump(stream: Any, listener: Listener) -> None:
    async for event in stream:
        uri = getattr(event, "uri", None) or getattr(getattr(event, "params", None), "uri", None)
        listener.told.put_nowait(str(uri))


async def new_context(client: Client) -> str:
    created = await client.call_tool("context_create", {"title": "watched"})
    return str(created.structured_content["data"]["context_id"])


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_context_that_is_written_to_is_told_of(database, settings, transport, era):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS) as writer:
        uri = f"devops://contexts/{await new_context(writer)}"
        async with a_listener(transport, url, key, era, uri) as listener, asyncio.timeout(WITHIN_S):
            items = {"context_id": uri.rsplit("/", 1)[1], "items": [{"text": "found it"}]}
            await writer.call_tool("context_append", items)
            assert await listener.told.get() == uri


async def test_a_task_that_is_cancelled_is_told_of_and_can_be_read(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, STATELESS) as client:
        started = await client.call_tool("task_start", {"name": "context_list", "arguments": {}})
        task_id = started.structured_content["data"]["task_id"]
        uri = f"devops://tasks/{task_id}"
        async with a_listener("ws", url, key, STATELESS, uri) as listener, asyncio.timeout(WITHIN_S):
            cancelled = await client.call_tool("task_cancel", {"task_id": task_id})
            assert await listener.told.get() == uri
        read = await client.read_resource(uri)
    assert cancelled.structured_content["data"]["status"] == "cancelled"
    assert '"status":"cancelled"' in read.contents[0].text


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_anothers_cannot_be_watched(database, settings, era):
    """M07"""
    keys = [await new_key(database.owner_url, "tools:*", "contexts:read", "contexts:write") for _ in "ab"]
    async with running_mcp(settings) as url:
        async with agent("ws", url, keys[0], STATELESS) as client:
            mine = f"devops://contexts/{await new_context(client)}"
        for uri in (mine, "devops://contexts/01900000-0000-7000-8000-000000000000", "devops://nothing"):
            with pytest.raises((MCPError, ExceptionGroup)) as refused:
                async with a_listener("ws", url, keys[1], era, uri):
                    pass
            assert "there is no" in str(_innermost(refused.value))


@pytest.mark.parametrize("era", ERAS)
async def test_an_address_to_hear_of_is_of_bounded_length(database, settings, era):
    """S03: who may name a hundred of them on each of a thousand connections must not fill our memory."""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        with pytest.raises((MCPError, ExceptionGroup)) as refused:
            async with a_listener("ws", url, key, era, f"devops://events/github/{'x' * 4_096}"):
                pass
    assert "at most 4096 characters" in str(_innermost(refused.value))


async def test_a_connection_has_so_many_streams_and_no_more(database, settings):
    """S03: each is kept with all that it listens to, until its client goes."""
    key = await new_key(database.owner_url)
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}}
    async with (
        running_mcp(settings) as url,
        connect(url.replace("http", "ws", 1) + "/ws", additional_headers={"X-API-Key": key}) as socket,
    ):

        async def listen(number: int) -> dict[str, Any]:
            wanted = {"resourceSubscriptions": ["devops://events/github/acme/shop"]}
            asked = asking(REVISION, "subscriptions/listen", notifications=wanted) | {"id": number}
            await socket.send(json.dumps(asked))
            async with asyncio.timeout(WITHIN_S):
                return dict(json.loads(await socket.recv()))

        for number in range(MAX_ENDLESS):
            assert (await listen(number))["method"] == "notifications/subscriptions/acknowledged"
        refused = await listen(MAX_ENDLESS)
        await socket.send(json.dumps(cancelled))
        async with asyncio.timeout(WITHIN_S):
            while "error" in await listen(MAX_ENDLESS):
                pass
    assert refused["error"]["code"] == TOO_MANY


async def test_the_integrations_are_a_resource_that_tells_no_secret(database, redis_url, tmp_path):
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings_for(database.mcp_url, redis_url, [files])) as url,
        agent("ws", url, key, STATELESS) as client,
    ):
        read = await client.read_resource("devops://integrations")
    text = read.contents[0].text
    assert '"name":"files"' in text
    assert str(tmp_path) not in text


def _innermost(error: BaseException) -> BaseException:
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error

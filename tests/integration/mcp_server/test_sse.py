"""HTTP+SSE of 2024-11-05 on two replicas: the stream on one, the messages to the other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from support.handshake import Event, events_of
from support.services import new_key, running_mcp, settings_for
from support.talkative import KEY, Talkative, replica

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2024-11-05",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


class Listener:
    """An open stream, and the path it named for messages."""

    def __init__(self, events: AsyncIterator[Event], path: str) -> None:
        self.events = events
        self.path = path

    async def next(self) -> dict:
        async with asyncio.timeout(30):
            event = await anext(self.events)
        assert event.data is not None
        return event.data


@asynccontextmanager
async def listening(http: httpx2.AsyncClient, url: str, key: str) -> AsyncIterator[Listener]:
    headers = {"X-API-Key": key}
    async with http.stream("GET", f"{url}/sse", headers=headers) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: endpoint"
        path = (await anext(lines)).removeprefix("data: ")
        yield Listener(events_of(lines), path)


async def post(http: httpx2.AsyncClient, url: str, key: str, message: object) -> httpx2.Response:
    content = message if isinstance(message, str) else json.dumps(message)
    return await http.post(
        url, content=content, headers={"X-API-Key": key, "Content-Type": "application/json"}
    )


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


async def test_messages_may_reach_either_replica(redis_url, http):
    talkative = Talkative()
    async with (
        replica(redis_url, talkative) as one,
        replica(redis_url, talkative) as other,
        listening(http, one, KEY) as listener,
    ):
        assert listener.path.startswith("/messages/?session_id=")
        assert (await post(http, other + listener.path, KEY, INITIALIZE)).status_code == 202
        assert (await listener.next())["result"]["protocolVersion"] == "2024-11-05"
        for replica_url in (one, other):
            ping = {"jsonrpc": "2.0", "id": replica_url, "method": "ping"}
            assert (await post(http, replica_url + listener.path, KEY, ping)).status_code == 202
            assert (await listener.next())["id"] == replica_url


async def test_a_session_ends_with_its_stream_on_every_replica(redis_url, http):
    talkative = Talkative()
    async with replica(redis_url, talkative) as one, replica(redis_url, talkative) as other:
        async with listening(http, one, KEY) as listener:
            pass
        async with asyncio.timeout(30):
            while (await post(http, other + listener.path, KEY, INITIALIZE)).status_code != 404:
                pass
        assert (await post(http, one + listener.path, KEY, INITIALIZE)).status_code == 404


async def test_an_id_that_is_in_use_is_refused(redis_url, http):
    """J02"""
    talkative = Talkative()
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "report"}}
    async with replica(redis_url, talkative) as url, listening(http, url, KEY) as listener:
        await post(http, url + listener.path, KEY, INITIALIZE)
        await listener.next()
        await post(http, url + listener.path, KEY, call)
        await talkative.called.wait()
        for request_id in (7, "7"):
            assert (await post(http, url + listener.path, KEY, {**call, "id": request_id})).status_code == 400
        talkative.go_on.set()
        assert (await listener.next())["result"]["content"][0]["text"] == "whole"


async def test_a_call_that_is_cancelled_is_not_answered(redis_url, http):
    talkative = Talkative()
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "report"}}
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    async with replica(redis_url, talkative) as url, listening(http, url, KEY) as listener:
        for message in (INITIALIZE, call):
            await post(http, url + listener.path, KEY, message)
        await listener.next()
        await talkative.called.wait()
        await post(http, url + listener.path, KEY, cancelled)
        async with asyncio.timeout(30):
            while (await post(http, url + listener.path, KEY, {**call, "method": "ping"})).status_code == 400:
                pass
        assert (await listener.next()) == {"jsonrpc": "2.0", "id": 7, "result": {}}


async def test_a_session_is_nobody_elses(database, redis_url, http):
    """M05"""
    owner, stranger = await new_key(database.owner_url), await new_key(database.owner_url)
    settings = settings_for(database.mcp_url, redis_url)
    async with (
        running_mcp(settings) as one,
        running_mcp(settings) as other,
        listening(http, one, owner) as listener,
    ):
        for url in (one, other):
            taken = await post(http, url + listener.path, stranger, INITIALIZE)
            absent = await post(http, f"{url}/messages/?session_id={'0' * 32}", stranger, INITIALIZE)
            assert (taken.status_code, taken.text) == (absent.status_code, absent.text) == (404, absent.text)
        assert (await post(http, one + listener.path, owner, INITIALIZE)).status_code == 202


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "nobody"}])
async def test_nobody_unknown_opens_a_stream(redis_url, http, headers):
    async with replica(redis_url, Talkative()) as url:
        assert (await http.get(f"{url}/sse", headers=headers)).status_code == 401
        assert (await http.post(f"{url}/messages/?session_id=x", headers=headers)).status_code == 401


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
async def test_host_and_origin_are_checked(redis_url, http, headers):
    """H09"""
    async with replica(redis_url, Talkative()) as url:
        answer = await http.get(f"{url}/sse", headers={"X-API-Key": KEY, **headers})
    assert answer.status_code == (403 if "Origin" in headers else 421)


@pytest.mark.parametrize(
    ("body", "code"), [("{", -32700), ("[]", -32600), ('{"jsonrpc":"2.0","id":null,"method":"a"}', -32600)]
)
async def test_a_bad_message_is_refused_and_the_stream_goes_on(redis_url, http, body, code):
    """J01, J02"""
    async with replica(redis_url, Talkative()) as url, listening(http, url, KEY) as listener:
        refused = await post(http, url + listener.path, KEY, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
        await post(http, url + listener.path, KEY, INITIALIZE)
        assert (await listener.next())["result"]["protocolVersion"] == "2024-11-05"


@pytest.mark.parametrize("view", ["", "/x/all"])
async def test_the_python_client_lists_and_calls_tools(database, redis_url, view):
    key = await new_key(database.owner_url)
    settings = settings_for(database.mcp_url, redis_url)
    async with running_mcp(settings) as url:
        streams = sse_client(f"{url}/sse{view}", headers={"Authorization": f"Bearer {key}"})
        async with Client(streams, mode="legacy") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            created = await client.call_tool("context_create", {"title": "over SSE"})
    assert "context_create" in names
    assert not created.is_error


async def test_a_stop_answers_what_is_under_way_and_then_ends_the_stream(redis_url, http):
    talkative = Talkative()
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "report"}}
    async with AsyncExitStack() as stack:
        async with replica(redis_url, talkative) as url:
            listener = await stack.enter_async_context(listening(http, url, KEY))
            await post(http, url + listener.path, KEY, INITIALIZE)
            await listener.next()
            await post(http, url + listener.path, KEY, call)
            await talkative.called.wait()
            asyncio.get_running_loop().call_later(0.5, talkative.go_on.set)
        assert (await listener.next())["result"]["content"][0]["text"] == "whole"
        assert [event async for event in listener.events] == []

"""Sessions of the handshake era over Streamable HTTP on two replicas, each request sent to the other one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import psycopg
import pytest

from mcp_server.transports import http_sessions
from support.handshake import REVISIONS, HandshakeClient, messages_of, next_message
from support.happenings import happen
from support.services import new_key, running_mcp, settings_for

EVENTS = "devops://events"
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


@asynccontextmanager
async def running_two(settings) -> AsyncIterator[tuple[str, str]]:
    async with running_mcp(settings) as one, running_mcp(settings) as other:
        yield one, other


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


@pytest.mark.parametrize("version", REVISIONS)
async def test_requests_may_alternate_between_settings(database, settings, http, version):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url), version)
        began = await client.begin()
        assert began["protocolVersion"] == version
        for _ in range(3):
            created = await client.tool("context_create", title="an incident")
            assert created["content"]
            assert (await client.call("tools/list"))["result"]["tools"]
        assert (await client.call("tools/eat"))["error"]["code"] == -32601


async def test_who_begins_ever_new_sessions_loses_those_left_and_takes_no_room_from_others(
    database, settings, http, monkeypatch
):
    monkeypatch.setattr(http_sessions, "MAX_EACH", 2)
    async with running_mcp(settings) as replica:
        keys = [await new_key(database.owner_url) for _ in range(2)]
        other, *clients = [HandshakeClient(http, [replica], key) for key in (keys[1], *[keys[0]] * 3)]
        for client in (other, *clients):
            await client.begin()
        for client in (other, *clients[1:]):
            assert (await client.call("tools/list"))["result"]["tools"]
        assert (await clients[0].post(clients[0].request("tools/list"))).status_code == 404
        async with clients[1].listening(), clients[2].listening():
            late = HandshakeClient(http, [replica], keys[0])
            assert (await late.post(late.request("initialize", HELLO))).status_code == 503


async def test_an_event_reaches_the_stream_wherever_it_was_opened(database, redis_url, settings, http):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        await client.call("resources/subscribe", {"uri": EVENTS})
        for number, replica in enumerate(replicas):
            client.replica = replica
            async with client.listening() as events:
                [event_id] = await happen(database.worker_url, redis_url, number)
                heard = await next_message(events)
            assert heard.data is not None
            assert heard.data["params"]["_meta"]["io.devops-mcp/event"]["id"] == str(event_id)


async def test_a_stream_is_resumed_on_the_other_replica(database, redis_url, settings, http):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        await client.call("resources/subscribe", {"uri": EVENTS})
        async with client.listening() as events:
            await happen(database.worker_url, redis_url, 1)
            first = await next_message(events)
        missed = await happen(database.worker_url, redis_url, 2, 3)
        async with client.listening(first.id) as events:
            told = [await next_message(events) for _ in missed]
            [live] = await happen(database.worker_url, redis_url, 4)
            told.append(await next_message(events))
        assert [_event(message) for message in told] == [str(id_) for id_ in (*missed, live)]


async def test_a_session_is_rebuilt_where_its_replica_ended(database, redis_url, settings, http):
    async with AsyncExitStack() as others, running_mcp(settings) as staying:
        leaving = await others.enter_async_context(running_mcp(settings))
        client = HandshakeClient(http, [leaving], await new_key(database.owner_url))
        await client.begin()
        await client.call("resources/subscribe", {"uri": EVENTS})
        async with client.listening() as events:
            await happen(database.worker_url, redis_url, 1)
            last = await next_message(events)
        await others.aclose()
        client.replica = staying
        assert (await client.call("tools/list"))["result"]["tools"]
        async with client.listening(last.id) as events:
            [event_id] = await happen(database.worker_url, redis_url, 2)
            assert _event(await next_message(events)) == str(event_id)


async def test_a_session_belongs_to_its_principal_on_every_replica(database, settings, http):
    """M05"""
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        other = HandshakeClient(http, replicas, await new_key(database.owner_url))
        absent = HandshakeClient(http, replicas, other.key)
        other.session_id, absent.session_id = client.session_id, "0" * 32
        for _ in replicas:
            answers = []
            for stranger in (other, absent):
                posted = await stranger.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
                got = await http.get(stranger.url(), headers=stranger.headers())
                answers.append(
                    (posted.status_code, posted.json(), got.status_code, got.json(), await stranger.delete())
                )
            assert answers[0] == answers[1]
            assert (answers[0][0], answers[0][2], answers[0][4]) == (404, 404, 404)
            await client.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (await client.call("tools/list"))["result"]["tools"]


async def test_delete_ends_a_session_on_every_replica(database, settings, http):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        client.replica = replicas[1]
        assert await client.delete() == 200
        for client.replica in replicas:
            answer = await client.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
            assert answer.status_code == 404


async def test_without_redis_a_session_works_on_the_process_that_began_it(database, http):
    """R01"""
    key = await new_key(database.owner_url)
    async with running_mcp(settings_for(database.mcp_url, NOBODY)) as url:
        client = HandshakeClient(http, [url], key)
        await client.begin()
        assert (await client.call("tools/list"))["result"]["tools"]
        assert (await client.tool("context_create", title="without Redis"))["content"]
        client.session_id = "0" * 32
        answer = await client.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", -32700),
        ("", -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":NaN}}', -32700),
        ("[]", -32600),
        ('[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', -32600),
        ("7", -32600),
        ('{"jsonrpc":"1.0","id":1,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":{},"method":"tools/list"}', -32600),
    ],
)
@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_bad_body_is_answered_400_and_the_session_goes_on(
    database, settings, http, body, code, version
):
    """J01, J02, J04"""
    async with running_mcp(settings) as url:
        client = HandshakeClient(http, [url], await new_key(database.owner_url))
        await client.begin()
        headers = client.headers(**{"MCP-Protocol-Version": version})
        answer = await http.post(client.url(), content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        assert (await client.call("tools/list"))["result"]["tools"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Accept": "text/html"}, 406),
        ({"Content-Type": "text/plain"}, 415),
        ({"Mcp-Session-Id": ""}, 404),
        ({"Authorization": "Bearer nobody"}, 401),
    ],
)
async def test_a_request_with_wrong_headers_is_refused(database, settings, http, changes, status):
    async with running_mcp(settings) as url:
        client = HandshakeClient(http, [url], await new_key(database.owner_url))
        await client.begin()
        answer = await client.post(client.request("tools/list"), **changes)
    assert answer.status_code == status


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "*/*"])
async def test_a_client_is_answered_in_a_form_it_takes(database, settings, http, accept):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        answer = await client.post(client.request("tools/list"), Accept=accept)
        streamed = answer.headers["content-type"] == "text/event-stream"
        assert streamed == (accept == "text/event-stream")
        assert messages_of(answer)[-1]["result"]["tools"]


async def test_a_revoked_key_ends_its_open_stream(database, settings, http):
    async with running_two(settings) as replicas:
        client = HandshakeClient(http, replicas, await new_key(database.owner_url))
        await client.begin()
        async with client.listening() as events:
            await _revoke_all(database)
            async with asyncio.timeout(30):
                assert [event async for event in events] == []
        answer = await client.post(client.request("tools/list"))
        assert answer.status_code == 401


async def _revoke_all(database) -> None:
    async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as connection:
        await connection.execute("UPDATE api_keys SET revoked_at = now()")


def _event(message) -> str:
    assert message.data is not None
    return message.data["params"]["_meta"]["io.devops-mcp/event"]["id"]

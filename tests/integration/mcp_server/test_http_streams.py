"""What a call may do while it runs, over Streamable HTTP of the handshake era and two replicas: ask, report, be cut off, come again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from devops_mcp.cache.redis import open_redis
from devops_mcp.cache.sessions import SessionRecords
from mcp_server.transports import http_sessions
from support.handshake import REVISIONS, HandshakeClient, messages_of, next_message
from support.talkative import KEY, NOT_THERE, Talkative, replica

CAPABILITIES = {"elicitation": {"form": {}}}


@asynccontextmanager
async def meeting(
    redis_url: str, version: str = "2025-11-25"
) -> AsyncIterator[tuple[HandshakeClient, Talkative, str, str]]:
    """A client that has shaken hands, the tools, and two replicas: where the session lives, and the other one."""
    talkative = Talkative()
    async with (
        replica(redis_url, talkative) as owner,
        replica(redis_url, talkative) as other,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        client = HandshakeClient(http, [owner], KEY, version)
        await client.begin(CAPABILITIES)
        yield client, talkative, owner, other


def calling(client: HandshakeClient, tool: str, **meta: object) -> dict:
    params = {"name": tool, "arguments": {}} | ({"_meta": meta} if meta else {})
    return client.request("tools/call", params)


@pytest.mark.parametrize("version", REVISIONS[2:])
@pytest.mark.parametrize("asked_at", ["owner", "other"])
async def test_a_question_is_answered_through_the_other_replica(redis_url, version, asked_at):
    async with meeting(redis_url, version) as (client, _, owner, other):
        client.replica = owner if asked_at == "owner" else other
        async with client.streaming(calling(client, "ask")) as events:
            question = (await next_message(events)).data
            assert question["method"] == "elicitation/create"
            client.replica = other if asked_at == "owner" else owner
            result = {"action": "accept", "content": {"word": "hello"}}
            told = await client.post({"jsonrpc": "2.0", "id": question["id"], "result": result})
            assert told.status_code == 202
            answer = (await next_message(events)).data
        assert answer["result"]["content"][0]["text"] == "hello"


async def test_an_answer_to_what_was_not_asked_here_is_dropped(redis_url):
    async with meeting(redis_url) as (client, _, _, _), client.streaming(calling(client, "ask")) as events:
        question = (await next_message(events)).data
        wrong = {"action": "accept", "content": {"word": "wrong"}}
        for number in (1, question["id"] + 1, str(question["id"]) + "x"):
            await client.post({"jsonrpc": "2.0", "id": number, "result": wrong})
        right = {"action": "accept", "content": {"word": "right"}}
        await client.post({"jsonrpc": "2.0", "id": question["id"], "result": right})
        answer = (await next_message(events)).data
    assert answer["result"]["content"][0]["text"] == "right"


@pytest.mark.parametrize(("begun_at", "resumed_at"), [(0, 1), (1, 0), (1, 1)])
async def test_a_call_that_was_cut_off_goes_on_and_is_resumed(redis_url, begun_at, resumed_at):
    async with meeting(redis_url) as (client, talkative, *urls):
        client.replica = urls[begun_at]
        async with client.streaming(calling(client, "report", progressToken="t")) as events:
            progress = await next_message(events)
        assert progress.data["params"]["message"] == "half"
        client.replica = urls[resumed_at]
        async with client.listening(progress.id) as events:
            talkative.go_on.set()
            answer = await next_message(events)
            assert answer.data["result"]["content"][0]["text"] == "whole"
            assert [event async for event in events] == []


async def test_an_answer_that_came_while_the_client_was_away_is_kept(redis_url):
    async with meeting(redis_url) as (client, talkative, _, other):
        async with client.streaming(calling(client, "report", progressToken="t")) as events:
            progress = await next_message(events)
        talkative.go_on.set()
        client.replica = other
        async with client.listening(progress.id) as events:
            assert (await next_message(events)).data["result"]["content"][0]["text"] == "whole"


async def test_a_tool_may_send_its_reader_away_to_come_again(redis_url):
    async with meeting(redis_url) as (client, talkative, _, other):
        async with client.streaming(calling(client, "leave")) as events:
            seen = [event async for event in events]
        assert [event.data for event in seen] == [None]
        client.replica = other
        async with client.listening(seen[0].id) as events:
            talkative.go_on.set()
            assert (await next_message(events)).data["result"]["content"][0]["text"] == "came again"


async def test_a_stream_that_is_opened_again_replaces_the_one_before(redis_url):
    async with meeting(redis_url) as (client, _, _, other), client.listening() as first:
        client.replica = other
        async with client.listening() as second:
            assert [event async for event in first] == []
            await client.call("resources/subscribe", {"uri": "test://a"})
            assert (await next_message(second)).data["params"]["uri"] == "test://a"


async def test_what_was_said_before_the_stream_was_opened_is_told_on_it(redis_url):
    async with meeting(redis_url) as (client, _, _, _):
        await client.call("resources/subscribe", {"uri": "test://a"})
        async with client.listening() as events:
            assert (await next_message(events)).data["params"]["uri"] == "test://a"


async def test_a_call_can_be_cancelled_through_the_other_replica(redis_url):
    async with meeting(redis_url) as (client, talkative, _owner, other):
        message = calling(client, "report")
        call = asyncio.create_task(client.post(message))
        await talkative.called.wait()
        client.replica = other
        cancelled = {"requestId": message["id"], "reason": "changed my mind"}
        await client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled})
        assert messages_of(await call)[-1]["error"]["code"] == -32800


async def test_who_was_refused_a_subscription_does_not_have_it_where_the_session_is_rebuilt(redis_url):
    talkative = Talkative()
    async with (
        AsyncExitStack() as others,
        replica(redis_url, talkative) as staying,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        client = HandshakeClient(http, [await others.enter_async_context(replica(redis_url, talkative))], KEY)
        await client.begin()
        assert "error" in await client.call("resources/subscribe", {"uri": NOT_THERE})
        for method, uri in (
            ("subscribe", "test://a"),
            ("subscribe", "test://b"),
            ("unsubscribe", "test://a"),
        ):
            assert "result" in await client.call(f"resources/{method}", {"uri": uri})
        await others.aclose()
        client.replica, before = staying, len(talkative.watched)
        assert "result" in await client.call("ping")
    assert talkative.watched[before:] == ["test://b"]


async def test_a_session_that_could_not_be_rebuilt_in_time_is_with_the_next_request(redis_url, monkeypatch):
    talkative = Talkative()
    async with (
        AsyncExitStack() as others,
        replica(redis_url, talkative) as staying,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        client = HandshakeClient(http, [await others.enter_async_context(replica(redis_url, talkative))], KEY)
        await client.begin()
        await client.call("resources/subscribe", {"uri": "test://a"})
        await others.aclose()
        client.replica, before = staying, len(talkative.watched)
        with monkeypatch.context() as hurried:
            hurried.setattr(http_sessions, "_REBUILT_WITHIN_S", 0.0)
            late = await client.post(client.request("ping"))
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert "result" in await client.call("ping")
    assert talkative.watched[before:] == ["test://a"]


async def test_a_session_that_its_client_ends_while_it_moves_is_gone(redis_url, monkeypatch):
    begun, both, taking, ended = (asyncio.Event() for _ in range(4))
    find, take_over, forget = SessionRecords.find, SessionRecords.take_over, SessionRecords.forget

    async def found(records, session_id):
        awaited, told = (taking, both) if begun.is_set() else (both, begun)
        told.set()
        await awaited.wait()
        return await find(records, session_id)

    async def taken_over(records, *session):
        taking.set()
        await ended.wait()
        return await take_over(records, *session)

    async def forgotten(records, *session):
        await forget(records, *session)
        ended.set()

    talkative = Talkative()
    async with (
        AsyncExitStack() as others,
        replica(redis_url, talkative) as staying,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        client = HandshakeClient(http, [await others.enter_async_context(replica(redis_url, talkative))], KEY)
        await client.begin()
        await others.aclose()
        client.replica = staying
        for name, meanwhile in (("find", found), ("take_over", taken_over), ("forget", forgotten)):
            monkeypatch.setattr(SessionRecords, name, meanwhile)
        asked = asyncio.create_task(client.post(client.request("ping")))
        await begun.wait()
        gone = await client.delete()
        assert ((await asked).status_code, gone) == (404, 404)


async def test_an_id_that_is_in_use_is_refused(redis_url):
    """J02"""
    async with meeting(redis_url) as (client, talkative, _, _):
        message = calling(client, "report")
        call = asyncio.create_task(client.post(message))
        await talkative.called.wait()
        for request_id in (message["id"], str(message["id"])):
            repeated = await client.post({**message, "id": request_id})
            assert (repeated.status_code, repeated.json()["error"]["code"]) == (400, -32600)
        talkative.go_on.set()
        assert messages_of(await call)[-1]["result"]


@pytest.mark.parametrize("last_event_id", ["x", "1-2", "-~-", "1-2~", "9" * 40 + "-1~-"])
async def test_an_event_id_that_is_not_ours_is_refused(redis_url, last_event_id):
    async with meeting(redis_url) as (client, _, _, _):
        headers = client.headers(**{"Last-Event-ID": last_event_id})
        answer = await client.http.get(client.url(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


async def test_a_call_that_nobody_knows_is_answered_with_an_error(redis_url):
    async with meeting(redis_url) as (client, talkative, _, other):
        async with client.streaming(calling(client, "leave")) as events:
            [mark] = [event async for event in events]
        unknown = HandshakeClient(client.http, [other], KEY)
        await unknown.begin()
        async with unknown.listening(mark.id) as events:
            answer = (await next_message(events)).data
        talkative.go_on.set()
    assert answer["error"]["code"] == -32003


async def test_a_stop_ends_streams_and_finishes_calls(redis_url):
    talkative = Talkative()
    async with httpx2.AsyncClient(timeout=30) as http, asyncio.timeout(60):
        async with replica(redis_url, talkative) as url:
            client = HandshakeClient(http, [url], KEY)
            await client.begin()
            call = asyncio.create_task(client.post(calling(client, "report")))
            await talkative.called.wait()
            talkative.go_on.set()
            opened = client.listening()
            events = await opened.__aenter__()
        assert messages_of(await call)[-1]["result"]
        assert [event async for event in events] == []
        await opened.__aexit__(None, None, None)


async def test_a_stop_finishes_calls_that_came_through_the_other_replica(redis_url):
    talkative = Talkative()
    async with (
        replica(redis_url, talkative) as other,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        async with replica(redis_url, talkative) as owner:
            client = HandshakeClient(http, [owner], KEY)
            await client.begin()
            client.replica = other
            call = asyncio.create_task(client.post(calling(client, "report")))
            await talkative.called.wait()
            asyncio.get_running_loop().call_later(0.5, talkative.go_on.set)
        assert messages_of(await call)[-1]["result"]["content"][0]["text"] == "whole"


async def test_a_stop_finishes_calls_whose_client_has_left(redis_url):
    talkative = Talkative()
    async with (
        replica(redis_url, talkative) as other,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        async with replica(redis_url, talkative) as owner:
            client = HandshakeClient(http, [owner], KEY)
            await client.begin()
            async with client.streaming(calling(client, "report", progressToken="t")) as events:
                progress = await next_message(events)
            asyncio.get_running_loop().call_later(0.5, talkative.go_on.set)
        client.replica = other
        async with client.listening(progress.id) as events:
            assert (await next_message(events)).data["result"]["content"][0]["text"] == "whole"


async def test_a_session_that_nobody_uses_ends_and_one_that_is_listened_to_does_not(redis_url):
    talkative = Talkative()
    async with (
        replica(redis_url, talkative, idle_s=1.5, sweep_s=0.1) as url,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        idle, listener = HandshakeClient(http, [url], KEY), HandshakeClient(http, [url], KEY)
        await idle.begin()
        await listener.begin()
        async with listener.listening():
            await _until_gone(redis_url, idle)
            assert (await listener.call("ping"))["result"] == {}
        assert (await idle.post(idle.request("ping"))).status_code == 404


async def test_when_redis_has_lost_its_memory_sessions_are_registered_again(redis_url):
    """R01"""
    talkative = Talkative()
    async with (
        replica(redis_url, talkative, sweep_s=0.1) as owner,
        replica(redis_url, talkative) as other,
        open_redis(redis_url, command_timeout_s=2) as redis,
        httpx2.AsyncClient(timeout=30) as http,
        asyncio.timeout(60),
    ):
        client = HandshakeClient(http, [owner], KEY)
        await client.begin()
        await redis.flushall()
        while not await redis.exists(f"devops-mcp:session:{client.session_id}"):
            await asyncio.sleep(0.02)
        client.replica = other
        assert (await client.call("ping"))["result"] == {}


async def _until_gone(redis_url: str, client: HandshakeClient) -> None:
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        while await redis.exists(f"devops-mcp:session:{client.session_id}"):
            await asyncio.sleep(0.02)

"""Two mcp-server processes behind a balancer that sends each request to the next one, with rest-api and a worker of their own."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx2
import mcp_types as types
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from support.agents import STATELESS, agent
from support.balancer import balancing
from support.github_webhooks import REPO, deliver, failed_run
from support.handshake import REVISIONS, HandshakeClient, messages_of, next_message
from support.mcp_process import McpProcess, an_mcp_server
from support.servers import serve
from support.services import new_key, running_rest, settings_for
from support.worker_process import a_worker

EVENTS = f"devops://events/github/{REPO}"
SECRET = "a webhook secret of the tests"
GITHUB = {"name": "github", "system": "github", "options": {"token": "t"}, "webhook_secrets": [SECRET]}


@dataclass
class Installation:
    """What runs: two mcp-servers, what stands before them, and what a call to the slow system waits for."""

    one: McpProcess
    other: McpProcess
    balanced: str
    rest: str
    key: str
    asked: asyncio.Event
    http: httpx2.AsyncClient

    @property
    def urls(self) -> tuple[str, str]:
        return self.one.url, self.other.url

    def client(self, version: str = REVISIONS[-1]) -> HandshakeClient:
        return HandshakeClient(self.http, self.urls, self.key, version)

    async def break_the_build(self, message: str) -> str:
        """Have a webhook tell of a failed run; the id of its event."""
        payload = failed_run(message=message)
        told = await deliver(self.http, self.rest, "workflow_run", payload, SECRET)
        assert told.status_code == 202, told.text
        [event_id] = told.json()["events"]
        return str(event_id)


@asynccontextmanager
async def installed(database, redis_url: str, queues) -> AsyncIterator[Installation]:
    asked, over = asyncio.Event(), asyncio.Event()

    async def slow_metrics(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/api/v1/query":
            asked.set()
            await over.wait()
        await JSONResponse({"status": "success", "data": {}})(scope, receive, send)

    async with AsyncExitStack() as stack:
        slow = await stack.enter_async_context(serve(slow_metrics))
        stack.callback(over.set)
        metrics = {"name": "slow", "system": "prometheus", "options": {"base_url": slow, "timeout_s": 60}}
        common = {
            "REDIS_URL": redis_url,
            "MASTER_KEYS": '["a master key for the tests, and nothing else"]',
            "SQS_ENDPOINT_URL": queues.endpoint_url,
            "QUEUE_PREFIX": queues.prefix,
            "EMBEDDING_PROVIDER": "lexical",
            "PRIVATE_NETWORKS": '["127.0.0.0/8"]',
            "INTEGRATIONS": json.dumps([GITHUB, metrics]),
            "TOOL_DEADLINE_S": "60",
        }
        served = common | {"DATABASE_URL": database.mcp_url}
        one, other, _ = await asyncio.gather(
            stack.enter_async_context(an_mcp_server(served)),
            stack.enter_async_context(an_mcp_server(served)),
            stack.enter_async_context(a_worker(common | {"DATABASE_URL": database.worker_url})),
        )
        settings = settings_for(
            database.app_url,
            redis_url,
            [GITHUB],
            sqs_endpoint_url=queues.endpoint_url,
            queue_prefix=queues.prefix,
        )
        rest = await stack.enter_async_context(running_rest(settings))
        balanced = await stack.enter_async_context(balancing(one.url, other.url))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60))
        key = await new_key(database.owner_url)
        yield Installation(one, other, balanced, rest, key, asked, http)


async def test_agents_of_every_revision_work_and_hear_through_a_round_robin_balancer(
    database, redis_url, queues
):
    async with installed(database, redis_url, queues) as suite:
        for version in REVISIONS:
            client = suite.client(version)
            assert (await client.begin())["protocolVersion"] == version
            for number in range(4):
                await client.tool("context_create", title=f"{version} {number}")
            await client.call("resources/subscribe", {"uri": EVENTS})
            for client.replica in suite.urls:
                async with client.listening() as events:
                    event_id = await suite.break_the_build(f"{version} {client.replica}")
                    assert _event(await next_message(events)) == event_id
            client.replica = None
            assert await client.delete() == 200
            assert (await client.post(client.request("tools/list"))).status_code == 404


@pytest.mark.parametrize("era", ["legacy", STATELESS])
async def test_the_python_client_works_and_hears_through_a_round_robin_balancer(
    database, redis_url, queues, era
):
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(message: object) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            heard.put_nowait((message.params.meta or {})["io.devops-mcp/event"]["id"])

    async with (
        installed(database, redis_url, queues) as suite,
        agent("http", suite.balanced, suite.key, era, message_handler=on_message) as client,
        AsyncExitStack() as stack,
    ):
        for number in range(6):
            created = await client.call_tool("context_create", {"title": f"{era} {number}"})
            assert not created.is_error
        if era == STATELESS:
            await stack.enter_async_context(client.listen(resource_subscriptions=[EVENTS]))
        else:
            params = types.SubscribeRequestParams(uri=EVENTS)
            await client.session.send_request(types.SubscribeRequest(params=params), types.EmptyResult)
        for number in range(3):
            event_id = await suite.break_the_build(f"{era} {number}")
            async with asyncio.timeout(60):
                assert await heard.get() == event_id


async def test_a_killed_replicas_sessions_go_on_at_the_other(database, redis_url, queues):
    """Nothing is lost but the stream: subscriptions and what was missed are there when it is resumed."""
    async with installed(database, redis_url, queues) as suite:
        client = suite.client()
        client.replica = suite.one.url
        await client.begin()
        await client.call("resources/subscribe", {"uri": EVENTS})
        async with client.listening() as events:
            first = await suite.break_the_build("the first")
            mark = await next_message(events)
            assert _event(mark) == first
            await suite.one.end(signal.SIGKILL)
            with pytest.raises(httpx2.TransportError):
                [event async for event in events]
        client.replica = suite.other.url
        async with client.listening(mark.id) as events:
            second = await suite.break_the_build("the second")
            assert _event(await next_message(events)) == second
        assert (await client.call("tools/list"))["result"]["tools"]


async def test_a_stream_through_the_other_replica_ends_when_the_sessions_own_is_killed(
    database, redis_url, queues
):
    async with installed(database, redis_url, queues) as suite:
        client = suite.client()
        client.replica = suite.one.url
        await client.begin()
        await client.call("resources/subscribe", {"uri": EVENTS})
        client.replica = suite.other.url
        async with client.listening() as events:
            await suite.break_the_build("before")
            mark = await next_message(events)
            await suite.one.end(signal.SIGKILL)
            async with asyncio.timeout(60):
                assert [event async for event in events] == []
        async with client.listening(mark.id) as events:
            after = await suite.break_the_build("after")
            assert _event(await next_message(events)) == after


@pytest.mark.parametrize("version", [REVISIONS[0], REVISIONS[-1]])
async def test_a_call_on_a_killed_replica_ends_with_a_clear_error(database, redis_url, queues, version):
    """Through the other replica: it is answered; with one's own connection cut: it is answered when the stream is resumed."""
    async with installed(database, redis_url, queues) as suite:
        client = suite.client(version)
        client.replica = suite.one.url
        await client.begin()
        arguments = {"name": "prometheus_query", "arguments": {"target": "slow", "query": "up"}}
        client.replica = suite.other.url
        message = client.request("tools/call", {"name": "tools_read", "arguments": arguments})
        call = asyncio.create_task(client.post(message))
        async with asyncio.timeout(60):
            await suite.asked.wait()
        await suite.one.end(signal.SIGKILL)
        async with asyncio.timeout(60):
            answer = messages_of(await call)[-1]
        assert (answer["id"], answer["error"]["code"]) == (message["id"], -32003)
        assert (await client.call("tools/list"))["result"]["tools"]


async def test_a_call_whose_replica_was_killed_is_answered_when_its_stream_is_resumed(
    database, redis_url, queues
):
    async with installed(database, redis_url, queues) as suite:
        client = suite.client()
        client.replica = suite.one.url
        await client.begin()
        arguments = {"name": "prometheus_query", "arguments": {"target": "slow", "query": "up"}}
        message = client.request("tools/call", {"name": "tools_read", "arguments": arguments})
        async with client.streaming(message) as events:
            mark = await anext(events)
            await suite.one.end(signal.SIGKILL)
            with pytest.raises(httpx2.TransportError):
                await anext(events)
        client.replica = suite.other.url
        async with client.listening(mark.id) as events:
            answer = (await next_message(events)).data
        assert answer is not None
        assert (answer["id"], answer["error"]["code"]) == (message["id"], -32003)


async def test_a_replica_that_hangs_is_not_asked_twice_and_its_session_is_there_when_it_wakes(
    database, redis_url, queues
):
    async with installed(database, redis_url, queues) as suite:
        client = suite.client()
        client.replica = suite.one.url
        await client.begin()
        client.replica = suite.other.url
        suite.one.send(signal.SIGSTOP)
        hung = await client.post(client.request("tools/list"))
        assert (hung.status_code, "retry-after" in hung.headers) == (503, True)
        suite.one.send(signal.SIGCONT)
        for client.replica in suite.urls:
            assert (await client.call("tools/list"))["result"]["tools"]


def _event(message) -> str:
    return message.data["params"]["_meta"]["io.devops-mcp/event"]["id"]

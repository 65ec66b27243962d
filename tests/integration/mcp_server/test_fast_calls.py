"""The short way answers as the long way does, byte for byte but for the order of keys, and leaves to it what is not plain."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import httpx2
import psycopg
import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect

from devops_mcp.models.ids import new_id
from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.handlers.tools import ToolHandlers
from support.channels import ALL_REVISIONS, STATELESS, Ask, asking, channel, opening, serves
from support.handshake import BOTH, REVISIONS, HandshakeClient, messages_of, next_message
from support.rest import a_caller
from support.services import new_key, running_mcp, settings_for

TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
VERSION, CAPABILITIES, CLIENT = (
    f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo")
)
WAYS = ("ws", "http-json", "http-sse", "sse")
"""By which transports plain requests go the short way."""
WAS_CANCELLED = "SELECT 1 FROM audit_log WHERE error_code = 'cancelled'"
BLOCKED = """
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True)
class Case:
    """A request; `meta` is put to what its revision has in `_meta`, `beside` into the message itself."""

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)

    def said(self, revision: str) -> str:
        message = asking(revision, self.method, **self.params)
        params = message["params"]
        if self.meta:
            params["_meta"] = params.get("_meta", {}) | self.meta
        return json.dumps({**message, "params": params, "id": 1, **self.beside})


def call(name: Any, arguments: Any = None, meta: dict[str, Any] | None = None, **more: Any) -> Case:
    given = {} if arguments is None else {"arguments": arguments}
    return Case("tools/call", {"name": name, **given, **more}, meta or {})


NOTES = {"path": "work/notes.txt"}
PLAIN = {
    "a read": call("fs_read", NOTES),
    "no arguments": call("context_list"),
    "wrong arguments": call("fs_read", {"path": 7}),
    "unknown arguments": call("fs_read", {"path": "work/notes.txt", "colour": "red"}),
    "an error of the system": call("fs_read", {"path": "work/nothing.txt"}),
    "a refused write": call("fs_mkdir", {"path": "work/new"}),
    "a dry run": call("context_create", {"title": "x", "dry_run": True}),
    "a cut result": call("fs_read", {"path": "work/long.txt"}),
    "a list": Case("tools/list"),
    "a trace": call("context_list", {}, {"traceparent": TRACE}),
    "a trace that is none": call("context_list", {}, {"traceparent": "nonsense"}),
    "a progress token": call("context_list", {}, {"progressToken": 3}),
    "what another wrote into it": call("context_list", {}, {"example.com/toolUseId": {"a": [1]}}),
    "more than a request": Case("tools/list", beside={"extra": 1}),
    "an id of text": Case("tools/call", {"name": "context_list"}, beside={"id": 'ä "1"'}),
}
PLAIN_OF_CONNECTIONS = {
    "a ping": Case("ping"),
    "a list with a token": Case("tools/list", {}, {"progressToken": "t"}),
}
LONG_WAY = {
    "an unknown tool": call("nothing_there"),
    "a tool that is not listed": call("prometheus_query", {"query": "up"}),
    "a tool that hands on": call("tools_read", {"name": "context_list"}),
    "a tool that asks": call("fs_write", {**NOTES, "content": "", "overwrite": True}),
    "an idempotency key": call("context_list", {}, {"io.devops-mcp/idempotencyKey": "k"}),
    "a context": call("context_list", {}, {"io.devops-mcp/contextId": "not one"}),
    "another version": call("context_list", {}, {VERSION: "1999-01-01"}),
    "a log level": call("context_list", {}, {"io.modelcontextprotocol/logLevel": "info"}),
    "a progress token that is none": call("context_list", {}, {"progressToken": 1.5}),
    "arguments that are no object": call("context_list", [1]),
    "a name that is no text": call(7),
    "no name": Case("tools/call"),
    "answers": call("context_list", {}, inputResponses={}),
    "a task": call("context_list", {}, task={"ttl": 1000}),
    "another method": Case("prompts/list"),
    "an unknown method": Case("tools/eat"),
    "a cursor that is none": Case("tools/list", {"cursor": "nonsense"}),
}
LONG_WAY_ALONE = {
    "a ping": Case("ping"),
    "a client that is none": call("context_list", {}, {CLIENT: 7}),
    "capabilities that are none": call("context_list", {}, {CAPABILITIES: {"elicitation": 7}}),
}


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "long.txt").write_text("a line of text\n" * 3_000)
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    return settings_for(database.mcp_url, redis_url, [files])


class Short:
    """What the short way was asked: `taken` says of each request whether it answered."""

    def __init__(self) -> None:
        self.taken: list[bool] = []
        self.closed = False

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Everything goes the long way within this block."""
        self.closed = True
        yield
        self.closed = False

    def since(self) -> list[bool]:
        taken, self.taken = self.taken, []
        return taken


@pytest.fixture
def short(monkeypatch):
    noted, prepare, prepare_now = Short(), FastCalls.prepare, FastCalls.prepare_now

    async def watched(self: FastCalls, *args: Any) -> Answering | None:
        prepared = await prepare(self, *args)
        if prepared is None and not noted.closed:
            noted.taken.append(False)
        return prepared

    def watched_now(self: FastCalls, *args: Any) -> Answering | None:
        prepared = None if noted.closed else prepare_now(self, *args)
        if prepared is not None:
            noted.taken.append(True)
        return prepared

    monkeypatch.setattr(FastCalls, "prepare", watched)
    monkeypatch.setattr(FastCalls, "prepare_now", watched_now)
    return noted


@asynccontextmanager
async def greeted(transport: str, url: str, key: str, revision: str) -> AsyncIterator[Ask]:
    """A client that has begun and listed once."""
    async with channel(transport, url, key, revision) as ask:
        await ask(json.dumps(opening(revision) | {"id": 0}))
        if revision != STATELESS:
            await ask('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        await ask(Case("tools/list").said(revision))
        yield ask


def comparable(answer: dict[str, Any] | None) -> str:
    """Without the handle of what was kept, which is new each time."""
    assert answer is not None
    text = json.dumps(answer, sort_keys=True)
    result = answer.get("result", {}).get("structuredContent", {})
    handle = (result.get("truncated") or {}).get("handle")
    return text.replace(handle, "HANDLE") if handle else text


@pytest.mark.parametrize("revision", ALL_REVISIONS)
async def test_both_ways_answer_alike(database, settings, short, revision):
    key = await new_key(database.owner_url)
    plain = PLAIN if revision == STATELESS else PLAIN | PLAIN_OF_CONNECTIONS
    async with running_mcp(settings) as url:
        for transport in (way for way in WAYS if serves(way, revision)):
            async with greeted(transport, url, key, revision) as ask:
                for name, case in plain.items():
                    short.since()
                    first, again = await ask(case.said(revision)), await ask(case.said(revision))
                    assert short.since() == [True, True], f"{name} over {transport}"
                    with short.shut():
                        long = await ask(case.said(revision))
                    assert comparable(first) == comparable(again) == comparable(long), (
                        f"{name} over {transport}"
                    )


@pytest.mark.parametrize("revision", [REVISIONS[-1], STATELESS])
async def test_lists_have_a_rate_on_either_way_and_pings_have_none(database, redis_url, short, revision):
    settings = settings_for(database.mcp_url, redis_url, requests_per_s=0.001, requests_burst=4)
    a_list, ping = Case("tools/list").said(revision), Case("ping").said(revision)
    async with running_mcp(settings) as url:
        for transport in (way for way in WAYS if serves(way, revision)):
            key = await new_key(database.owner_url, id=new_id())
            async with greeted(transport, url, key, revision) as ask:
                while "error" not in (refused := await answered(ask, a_list)):
                    assert short.since()[-1]
                assert short.since()[-1]
                pinged = await answered(ask, ping)
                with short.shut():
                    long, pinged_long = await answered(ask, a_list), await answered(ask, ping)
            for answer in (refused, long):
                assert answer["error"]["data"].pop("retry_after_s") > 0
            assert refused == long, transport
            assert refused["error"]["code"] == -32004
            assert pinged == pinged_long
            assert ("result" in pinged) == (revision != STATELESS)  # which has no ping


async def test_for_who_lists_too_often_no_page_is_written(database, redis_url, monkeypatch):
    """S04: to write one costs a hundred times what the answer does, and each choice of systems has its own."""
    settings = settings_for(database.mcp_url, redis_url, requests_per_s=0.001, requests_burst=1)
    key, written, page_for = await new_key(database.owner_url), [], ToolHandlers.page_for

    def counted(self: ToolHandlers, *given: Any) -> Any:
        written.append(given)
        return page_for(self, *given)

    monkeypatch.setattr(ToolHandlers, "page_for", counted)
    headers = {"X-API-Key": key, "MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/list"}
    headers |= {"Content-Type": "application/json", "Accept": BOTH}
    listing = Case("tools/list").said(STATELESS)
    async with running_mcp(settings) as url, httpx2.AsyncClient(timeout=60, headers=headers) as http:
        answers = [
            await http.post(url + path, content=listing) for path in ("/mcp", "/mcp/x/all", "/mcp/readonly")
        ]
    assert ["error" in answer.json() for answer in answers] == [False, True, True]
    assert len(written) == 1


async def answered(ask: Ask, said: str) -> dict[str, Any]:
    answer = await ask(said)
    assert answer is not None
    return answer


@pytest.mark.parametrize("revision", ALL_REVISIONS)
async def test_what_is_not_plain_goes_the_long_way(database, settings, short, revision):
    key = await new_key(database.owner_url)
    odd = LONG_WAY | LONG_WAY_ALONE if revision == STATELESS else LONG_WAY
    async with running_mcp(settings) as url:
        for transport in (way for way in WAYS if serves(way, revision)):
            async with greeted(transport, url, key, revision) as ask:
                for name, case in odd.items():
                    short.since()
                    answer = await ask(case.said(revision))
                    assert not any(short.since()), f"{name} over {transport}"
                    assert answer is not None
                    assert answer["id"] == 1


@pytest.mark.parametrize("transport", WAYS)
async def test_the_first_list_of_a_connection_begins_the_watch_of_it(database, settings, short, transport):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, channel(transport, url, key, REVISIONS[-1]) as ask:
        before = await ask(Case("tools/list").said(REVISIONS[-1]))
        await ask(json.dumps(opening(REVISIONS[-1]) | {"id": 0}))
        await ask('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        first = await ask(Case("tools/list").said(REVISIONS[-1]))
        assert not any(short.since())
        second = await ask(Case("tools/list").said(REVISIONS[-1]))
        assert short.since() == [True]
    assert before is not None
    assert "error" in before
    assert first == second


async def test_a_list_that_is_kept_follows_the_tenants_integrations(database, settings, redis_url, short):
    key = await new_key(database.owner_url)

    async def listed(ask: Ask) -> set[str]:
        names: set[str] = set()
        cursor: dict[str, Any] | None = {}
        while cursor is not None:
            answer = await ask(Case("tools/list", cursor).said(STATELESS))
            assert answer is not None
            result = answer["result"]
            names |= {tool["name"] for tool in result["tools"]}
            cursor = {"cursor": result["nextCursor"]} if "nextCursor" in result else None
        return names

    async with (
        running_mcp(settings) as url,
        channel("ws", url, key, STATELESS) as ask,
        a_caller(database, settings_for(database.app_url, redis_url)) as rest,
    ):
        assert "prometheus_query" not in await listed(ask)
        own = {"name": "own", "system": "prometheus", "options": {"base_url": "http://127.0.0.1:9"}}
        await rest("POST", "/api/v1/integrations", json=own)
        async with asyncio.timeout(20):
            while "prometheus_query" not in await listed(ask):
                await asyncio.sleep(0.05)
    assert all(short.taken)


async def test_headers_that_say_something_else_than_the_body_are_refused(database, settings, short):
    """M04"""
    key = await new_key(database.owner_url)
    right = {
        "Authorization": f"Bearer {key}",
        "Accept": BOTH,
        "Content-Type": "application/json",
        "MCP-Protocol-Version": STATELESS,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "fs_read",
    }
    async with running_mcp(settings) as url, httpx2.AsyncClient(timeout=60) as http:
        for changes in (
            {"Mcp-Name": "fs_list"},
            {"Mcp-Method": "tools/list"},
            {"MCP-Protocol-Version": REVISIONS[-1]},
            {"MCP-Protocol-Version": None},
        ):
            said = PLAIN["a read"].said(STATELESS)
            headers = {name: value for name, value in (right | changes).items() if value is not None}
            answer = await http.post(f"{url}/mcp/x/fs", content=said, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)
    assert not any(short.taken)


@dataclass(frozen=True)
class Held:
    """`release` lets calls that read contexts go on; `watching` sees what they do meanwhile."""

    locking: psycopg.AsyncConnection[Any]
    watching: psycopg.AsyncConnection[Any]

    async def release(self) -> None:
        await self.locking.rollback()

    async def until(self, query: LiteralString) -> None:
        """Return when the query finds something."""
        async with asyncio.timeout(20):
            while not await (await self.watching.execute(query)).fetchall():
                await asyncio.sleep(0.05)


@asynccontextmanager
async def held(superuser_url: str) -> AsyncIterator[Held]:
    """Calls that read contexts wait."""
    async with (
        await psycopg.AsyncConnection.connect(superuser_url) as locking,
        await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as watching,
    ):
        await locking.execute("LOCK TABLE contexts IN ACCESS EXCLUSIVE MODE")
        yield Held(locking, watching)


@pytest.mark.parametrize("revision", [REVISIONS[-1], STATELESS])
async def test_a_call_that_is_cancelled_ends_and_is_not_answered(database, settings, short, revision):
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        connect(url.replace("http", "ws", 1) + "/ws", additional_headers={"X-API-Key": key}) as socket,
        held(database.superuser_url) as contexts,
    ):
        await socket.send(json.dumps(opening(revision) | {"id": 0}))
        await socket.recv()
        await socket.send(call("context_list").said(revision))
        await contexts.until(BLOCKED)
        await socket.send('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}')
        await contexts.until(WAS_CANCELLED)
        await contexts.release()
        await socket.send(json.dumps(asking(revision, "tools/eat") | {"id": 2}))
        assert json.loads(await socket.recv())["id"] == 2
    assert short.taken[-2:] == [True, False]


async def test_a_call_that_is_under_way_says_when_to_ask_again(database, settings, short):
    """H14: the same either way."""
    key = await new_key(database.owner_url)
    case = call("context_create", {"title": "x", "idempotency_key": "k"})
    async with running_mcp(settings) as url:
        for revision in (REVISIONS[-1], STATELESS):
            async with greeted("ws", url, key, revision) as ask:
                await ask(case.said(revision))
                async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
                    await connection.execute(
                        "UPDATE idempotent_calls SET answer = NULL, lease_until = now() + interval '1 hour'"
                    )
                first = await ask(case.said(revision))
                with short.shut():
                    long = await ask(case.said(revision))
            assert comparable(first) == comparable(long)
            assert first is not None
            assert first["result"]["_meta"]["io.devops-mcp/retryAfter"] == 2


async def test_a_call_over_http_that_is_cancelled_is_answered_so(database, settings, short):
    async with talking(database, settings) as client, held(database.superuser_url) as contexts:
        message = client.request("tools/call", {"name": "context_list"})
        answer = asyncio.create_task(client.post(message))
        await contexts.until(BLOCKED)
        cancelled = {"requestId": message["id"]}
        await client.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled})
        assert messages_of(await answer)[-1]["error"]["code"] == -32800
    assert short.taken[-1]


async def test_a_call_over_http_leaves_its_line_to_the_audit_log(database, settings, short):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, channel("http-json", url, key, STATELESS) as ask:
        with capture_logs() as logs:
            for case in (PLAIN["a read"], PLAIN["a list"], LONG_WAY["a tool that hands on"]):
                await ask(case.said(STATELESS))
    levels = [line["log_level"] for line in logs if line["event"] == "request served"]
    assert levels == ["debug", "info", "debug"]


async def test_a_call_over_http_ends_with_its_client(database, settings, short):
    key = await new_key(database.owner_url)
    mirrored = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/call", "Mcp-Name": "context_list"}
    headers = {"X-API-Key": key, "Content-Type": "application/json", "Accept": BOTH, **mirrored}
    async with (
        running_mcp(settings) as url,
        held(database.superuser_url) as contexts,
        httpx2.AsyncClient(timeout=20) as http,
    ):
        said = call("context_list").said(STATELESS)
        asking_it = asyncio.create_task(http.post(f"{url}/mcp", content=said, headers=headers))
        await contexts.until(BLOCKED)
        asking_it.cancel()
        await contexts.until(WAS_CANCELLED)
    assert short.taken == [True]


async def test_each_call_of_a_session_is_recorded_with_its_own_requests_trace_and_address(
    database, settings, short
):
    key, traces = await new_key(database.owner_url), [f"{number:032x}" for number in (1, 2)]
    async with running_mcp(settings) as url:
        async with httpx2.AsyncClient(timeout=20) as http:
            client = HandshakeClient(http, [url], key)
            await client.begin()
            for trace in traces:
                asked = client.request("tools/call", {"name": "context_list", "arguments": {}})
                answer = await client.post(asked, traceparent=f"00-{trace}-{1:016x}-01")
                assert "error" not in messages_of(answer)[-1]
        async with channel("ws", url, key, STATELESS) as ask:
            await ask(call("context_list").said(STATELESS))
    assert short.taken[-3:] == [True] * 3
    with psycopg.connect(database.superuser_url) as connection:
        recorded = connection.execute(
            "SELECT trace_id, address FROM audit_log WHERE target = 'context_list' ORDER BY id"
        ).fetchall()
    assert [trace for trace, _ in recorded[:2]] == traces
    assert [address for _, address in recorded] == ["127.0.0.1"] * 3


async def test_a_call_that_takes_long_is_streamed_and_can_be_resumed(database, settings, short):
    async with talking(database, settings) as client, held(database.superuser_url) as contexts:
        async with client.streaming(client.request("tools/call", {"name": "context_list"})) as events:
            begun = await anext(events)
        await contexts.release()
        async with client.listening(begun.id) as events:
            answer = (await next_message(events)).data
    assert answer is not None
    assert answer["result"]["structuredContent"] == {"items": []}
    assert short.taken[-1]


@asynccontextmanager
async def talking(database: Any, settings: Any) -> AsyncIterator[HandshakeClient]:
    """A client that has shaken hands over HTTP."""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, httpx2.AsyncClient(timeout=20) as http:
        client = HandshakeClient(http, [url], key)
        await client.begin()
        yield client

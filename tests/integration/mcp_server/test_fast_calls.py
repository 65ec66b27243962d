"""The short way of tools/call answers as the long way does, byte for byte but for the order of keys, and leaves to it what is not plain."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from mcp_server.fast_calls import FastCalls
from support.services import new_key, running_mcp, settings_for

Ask: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
TRACE = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def call(name: Any, arguments: Any = None, meta: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    params = {"name": name, "_meta": ENVELOPE | (meta or {}), **more}
    params |= {} if arguments is None else {"arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


PLAIN = {
    "a read": call("fs_read", {"path": "work/notes.txt"}),
    "no arguments": call("context_list"),
    "wrong arguments": call("fs_read", {"path": 7}),
    "unknown arguments": call("fs_read", {"path": "work/notes.txt", "colour": "red"}),
    "an error of the system": call("fs_read", {"path": "work/nothing.txt"}),
    "a refused write": call("fs_mkdir", {"path": "work/new"}),
    "a dry run": call("context_create", {"title": "x", "dry_run": True}),
    "a cut result": call("fs_read", {"path": "work/long.txt"}),
    "a list": {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}},
    "a trace": call("context_list", {}, {"traceparent": TRACE}),
}
LONG_WAY = {
    "an unknown tool": call("nothing_there"),
    "a tool that is not listed": call("prometheus_query", {"query": "up"}),
    "a tool that hands on": call("tools_read", {"name": "context_list"}),
    "a tool that asks": call("fs_write", {"path": "work/notes.txt", "content": "", "overwrite": True}),
    "an idempotency key": call("context_list", {}, {"io.devops-mcp/idempotencyKey": "k"}),
    "a context": call("context_list", {}, {"io.devops-mcp/contextId": "not one"}),
    "another version": call("context_list", {}, {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}),
    "arguments that are no object": call("context_list", [1]),
    "a name that is no text": call(7),
    "answers": call("context_list", {}, inputResponses={}),
    "another method": {"jsonrpc": "2.0", "id": 1, "method": "prompts/list", "params": {"_meta": ENVELOPE}},
    "a cursor that is none": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {"_meta": ENVELOPE, "cursor": "nonsense"},
    },
}


@pytest.fixture
def settings(database, redis_url, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "long.txt").write_text("a line of text\n" * 3_000)
    files = {"name": "files", "system": "fs", "options": {"roots": {"work": str(tmp_path)}}}
    return settings_for(database.mcp_url, redis_url, [files])


@pytest.fixture
def taken(monkeypatch):
    """What the short way has answered."""
    answered: list[bytes | None] = []
    answer = FastCalls.answer

    async def noted(self: FastCalls, message: dict[str, Any], scope: Any) -> bytes | None:
        answered.append(await answer(self, message, scope))
        return answered[-1]

    monkeypatch.setattr(FastCalls, "answer", noted)
    return answered


async def ask(ws: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await ws.send(json.dumps(message))
    return dict(json.loads(await asyncio.wait_for(ws.recv(), 10)))


def comparable(answer: dict[str, Any]) -> str:
    """Without the handle of what was kept, which is new each time."""
    text = json.dumps(answer, sort_keys=True)
    result = answer.get("result", {}).get("structuredContent", {})
    handle = (result.get("truncated") or {}).get("handle")
    return text.replace(handle, "HANDLE") if handle else text


@asynccontextmanager
async def asking(transport: str, url: str, key: str) -> AsyncIterator[Ask]:
    """A way to send one message and read its answer."""
    headers = {"Authorization": f"Bearer {key}"}
    if transport == "ws":
        async with connect(url.replace("http", "ws") + "/ws/x/fs", additional_headers=headers) as ws:
            yield partial(ask, ws)
        return

    async def post(message: dict[str, Any]) -> dict[str, Any]:
        params = message["params"]
        mirrored = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": params["_meta"]["io.modelcontextprotocol/protocolVersion"],
            "Mcp-Method": message["method"],
        }
        mirrored |= {"Mcp-Name": str(params["name"])} if "name" in params else {}
        answer = await http.post(f"{url}/mcp/x/fs", json=message, headers=mirrored)
        return dict(answer.json())

    async with httpx2.AsyncClient(headers=headers) as http:
        yield post


@pytest.mark.parametrize("transport", ["ws", "http"])
@pytest.mark.parametrize("name", PLAIN)
async def test_both_ways_answer_alike(database, settings, taken, monkeypatch, transport, name):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, asking(transport, url, key) as say:
        first, short = await say(PLAIN[name]), await say(PLAIN[name])
        assert None not in taken
        assert comparable(first) == comparable(short)
        monkeypatch.setattr(FastCalls, "answer", _never)
        long = await say(PLAIN[name])
    assert comparable(short) == comparable(long)


@pytest.mark.parametrize("transport", ["ws", "http"])
@pytest.mark.parametrize("name", LONG_WAY)
async def test_what_is_not_plain_goes_the_long_way(database, settings, taken, transport, name):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, asking(transport, url, key) as say:
        answer = await say(LONG_WAY[name])
    assert not any(taken)
    assert answer["id"] == 1


async def test_headers_that_say_something_else_than_the_body_are_refused(database, settings, taken):
    """M04"""
    key = await new_key(database.owner_url)
    message = PLAIN["a read"]
    right = {
        "Authorization": f"Bearer {key}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "fs_read",
    }
    async with running_mcp(settings) as url, httpx2.AsyncClient() as http:
        for name, value in {"Mcp-Name": "fs_list", "Mcp-Method": "tools/list"}.items():
            answer = await http.post(f"{url}/mcp/x/fs", json=message, headers=right | {name: value})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)
    assert not any(taken)


async def _never(self: FastCalls, message: dict[str, Any], scope: Any) -> None:
    return None

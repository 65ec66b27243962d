"""The short way of tools/call answers as the long way does, byte for byte but for the order of keys, and leaves to it what is not plain."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from mcp_server.fast_calls import FastCalls
from support.services import new_key, running_mcp, settings_for

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
    "another method": {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}},
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


@pytest.mark.parametrize("name", PLAIN)
async def test_both_ways_answer_alike(database, settings, taken, monkeypatch, name):
    key = await new_key(database.owner_url)
    headers = {"Authorization": f"Bearer {key}"}
    async with running_mcp(settings) as url:
        address = url.replace("http", "ws") + "/ws/x/fs"
        async with connect(address, additional_headers=headers) as ws:
            short = await ask(ws, PLAIN[name])
            assert taken[-1] is not None
            monkeypatch.setattr(FastCalls, "answer", _never)
            long = await ask(ws, PLAIN[name])
    assert comparable(short) == comparable(long)


@pytest.mark.parametrize("name", LONG_WAY)
async def test_what_is_not_plain_goes_the_long_way(database, settings, taken, name):
    key = await new_key(database.owner_url)
    headers = {"Authorization": f"Bearer {key}"}
    async with running_mcp(settings) as url:
        address = url.replace("http", "ws") + "/ws/x/fs"
        async with connect(address, additional_headers=headers) as ws:
            answer = await ask(ws, LONG_WAY[name])
    assert taken == [None]
    assert answer["id"] == 1


async def _never(self: FastCalls, message: dict[str, Any], scope: Any) -> None:
    return None

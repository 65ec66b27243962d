"""`notifications/tasks` of the tasks extension: who follows a task is told how it stands."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from devops_mcp.operations.tasks import TaskService
from mcp_server.handlers import tasks as handlers
from support.services import new_key, running_mcp, settings_for

EXTENSION = "io.modelcontextprotocol/tasks"
WITHIN_S = 60


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


def connecting(url: str, key: str) -> connect:
    headers = {"Authorization": f"Bearer {key}"}
    return connect(url.replace("http", "ws", 1) + "/ws/x/suite", additional_headers=headers)


def request(id_: int, method: str, params: dict[str, Any], *, follows: bool = True) -> str:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}} if follows else {},
    }
    return json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": {**params, "_meta": meta}})


async def until(ws: ClientConnection, **wanted: Any) -> dict[str, Any]:
    """The next message with these members."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            message = json.loads(await ws.recv())
            if wanted.items() <= message.items():
                return dict(message)


async def a_task(ws: ClientConnection) -> str:
    await ws.send(request(1, "tools/call", {"name": "task_start", "arguments": {"name": "context_list"}}))
    return str((await until(ws, id=1))["result"]["structuredContent"]["data"]["task_id"])


async def test_who_follows_a_task_hears_how_it_stands_and_how_it_ended(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, connecting(url, key) as ws, connecting(url, key) as other:
        task_id = await a_task(other)
        await ws.send(request(2, "subscriptions/listen", {"notifications": {"taskIds": [task_id]}}))
        honored = await until(ws, method="notifications/subscriptions/acknowledged")
        begun = await until(ws, method="notifications/tasks")
        await other.send(request(3, "tasks/cancel", {"taskId": task_id}))
        ended = await until(ws, method="notifications/tasks")
        await other.send(request(4, "tasks/get", {"taskId": task_id}))
        asked = (await until(other, id=4))["result"]
    assert honored["params"]["notifications"] == {"taskIds": [task_id]}
    assert (begun["params"]["taskId"], begun["params"]["status"]) == (task_id, "working")
    assert {name: asked[name] for name in ended["params"] if name != "_meta"} == {
        name: value for name, value in ended["params"].items() if name != "_meta"
    }
    assert ended["params"]["status"] == "cancelled"
    assert ended["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == 2


async def test_another_agents_task_cannot_be_followed(database, settings):
    """M07"""
    keys = [await new_key(database.owner_url) for _ in "ab"]
    async with (
        running_mcp(settings) as url,
        connecting(url, keys[0]) as mine,
        connecting(url, keys[1]) as theirs,
    ):
        task_id = await a_task(mine)
        for wanted in ([task_id], ["nothing"], "all", [None] * 101):
            await theirs.send(request(2, "subscriptions/listen", {"notifications": {"taskIds": wanted}}))
            assert (await until(theirs, id=2))["error"]["code"] == -32602


async def test_only_who_knows_tasks_may_follow_one(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, connecting(url, key) as ws:
        task_id = await a_task(ws)
        wanted = {"notifications": {"taskIds": [task_id]}}
        await ws.send(request(2, "subscriptions/listen", wanted, follows=False))
        refused = (await until(ws, id=2))["error"]
    assert refused["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}


@asynccontextmanager
async def waiting_for(url: str, key: str, task_id: str) -> AsyncIterator[ClientConnection]:
    """A client of 2025-11-25 that has asked for the task's result, under the id 5."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    async with connecting(url, key) as ws:
        await ws.send(json.dumps({"jsonrpc": "2.0", "id": 4, "method": "initialize", "params": params}))
        await until(ws, id=4)
        asked = {"jsonrpc": "2.0", "id": 5, "method": "tasks/result", "params": {"taskId": task_id}}
        await ws.send(json.dumps(asked))
        yield ws


async def test_who_waits_for_a_result_is_answered_when_the_task_has_ended(database, settings, monkeypatch):
    """S04: a crowd of those who wait does not look into the database all the time."""
    looks, get = [], TaskService.get

    async def counted(self: TaskService, *given: Any) -> Any:
        looks.append(given)
        return await get(self, *given)

    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, connecting(url, key) as ws:
        task_id = await a_task(ws)
        monkeypatch.setattr(handlers, "LOOK_EVERY_S", 1_000.0)
        monkeypatch.setattr(TaskService, "get", counted)
        async with waiting_for(url, key, task_id) as waiting:
            async with asyncio.timeout(WITHIN_S):
                while len(looks) < 2:
                    await asyncio.sleep(0.01)
            await ws.send(request(3, "tasks/cancel", {"taskId": task_id}))
            told = await until(waiting, id=5)
    assert told["error"]["message"] == "the task was cancelled"


async def test_who_waits_for_long_is_told_to_ask_again(database, settings, monkeypatch):
    monkeypatch.setattr(handlers, "RESULT_WITHIN_S", 0.1)
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, connecting(url, key) as ws:
        task_id = await a_task(ws)
        async with waiting_for(url, key, task_id) as waiting:
            told = (await until(waiting, id=5))["error"]
    assert (told["code"], told["data"]["retryable"]) == (-32603, True)
    assert told["message"].endswith("still; ask again")

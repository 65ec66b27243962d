"""`notifications/tasks` of the tasks extension: who follows a task is told how it stands."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

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

"""Long calls as tasks, end to end: both forms of the protocol, owner-checked, and surviving SIGKILL of server and worker."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from support.agents import STATELESS
from support.fixtures_package import with_fixtures
from support.services import new_key
from support.suite import Suite, running_suite

EXTENSION = "io.modelcontextprotocol/tasks"
ENDED = {"completed", "failed", "cancelled"}


pytestmark = pytest.mark.xdist_group("tasks")
"""One suite for all of them: each process of pytest-xdist would start its own."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("tasks")
    with running_suite(folder / "state", with_fixtures(folder)) as running:
        yield running


class Caller:
    """A client of 2026-07-28 over HTTP that follows tasks; it keeps asking while the server is away."""

    def __init__(self, suite: Suite, key: str | None = None) -> None:
        self._url = str(suite.addresses["mcp_http"]) + "/x/conformance"
        self._key = key or str(suite.addresses["api_key"])

    async def ask(self, method: str, params: dict[str, Any], **meta: Any) -> dict[str, Any]:
        envelope = {
            "io.modelcontextprotocol/protocolVersion": STATELESS,
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "extensions": {EXTENSION: {}}},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": envelope | meta}}
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": STATELESS,
            "Mcp-Method": method,
            "Mcp-Name": str(params.get("name") or params.get("taskId")),
        }
        async with asyncio.timeout(60):
            while True:
                try:
                    async with httpx2.AsyncClient(timeout=30) as http:
                        answer = await http.post(self._url, json=body, headers=headers)
                    if answer.status_code < 500:
                        return dict(answer.json())
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.1)

    async def start(self, name: str, arguments: dict[str, Any], **meta: Any) -> str:
        answer = await self.ask("tools/call", {"name": name, "arguments": arguments}, **meta)
        assert answer["result"]["resultType"] == "task", answer
        return str(answer["result"]["taskId"])

    async def until(self, task_id: str, wanted: set[str], within_s: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(within_s):
            while True:
                found = (await self.ask("tasks/get", {"taskId": task_id}))["result"]
                if found["status"] in wanted:
                    return dict(found)
                await asyncio.sleep(0.1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["worker", "mcp-server"])
async def test_a_task_survives_the_death_of_worker_and_server(suite, victim):
    """D01, I6"""
    caller = Caller(suite)
    task_id = await caller.start("slow_compute", {"seconds": 3, "label": victim})
    await asyncio.sleep(1)
    os.kill(suite.pids[victim], signal.SIGKILL)
    ended = await caller.until(task_id, ENDED, within_s=90)
    assert ended["status"] == "completed"
    assert ended["result"]["content"][0]["text"] == f"computed {victim} in 3 s"


async def test_a_running_task_that_is_cancelled_stays_so(suite):
    caller = Caller(suite)
    task_id = await caller.start("slow_compute", {"seconds": 2})
    await asyncio.sleep(0.5)
    assert (await caller.ask("tasks/cancel", {"taskId": task_id}))["result"] == {
        "resultType": "complete",
        "_meta": (await caller.ask("tasks/get", {"taskId": task_id}))["result"]["_meta"],
    }
    await asyncio.sleep(2.5)
    found = (await caller.ask("tasks/get", {"taskId": task_id}))["result"]
    assert found["status"] == "cancelled"
    assert "result" not in found


async def test_a_task_waits_for_an_answer_and_goes_on_with_it(suite):
    caller = Caller(suite)
    task_id = await caller.start("confirm_delete", {"filename": "old.log"})
    waiting = await caller.until(task_id, {"input_required"})
    assert waiting["inputRequests"]["confirm"]["params"]["message"] == "Delete old.log?"
    answer = {"confirm": {"action": "accept", "content": {"confirm": True}}}
    await caller.ask("tasks/update", {"taskId": task_id, "inputResponses": answer})
    ended = await caller.until(task_id, ENDED)
    assert ended["result"]["content"][0]["text"] == "old.log deleted"


async def test_the_same_key_gives_the_same_task_and_other_arguments_an_error(suite):
    caller, key = Caller(suite), {"io.devops-mcp/idempotencyKey": "nightly"}
    first = await caller.start("slow_compute", {"seconds": 0}, **key)
    again = await caller.start("slow_compute", {"seconds": 0}, **key)
    other = await caller.ask("tools/call", {"name": "slow_compute", "arguments": {"seconds": 1}}, **key)
    assert again == first
    assert other["result"]["isError"]
    assert "other arguments" in other["result"]["content"][0]["text"]


async def test_another_callers_task_is_answered_like_one_that_does_not_exist(suite):
    """M07"""
    task_id = await Caller(suite).start("slow_compute", {"seconds": 2})
    stranger = Caller(suite, await new_key(suite.addresses["postgres"]))
    nobodys = "01900000-0000-7000-8000-000000000000"
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        theirs = await stranger.ask(method, {"taskId": task_id, "inputResponses": {}})
        absent = await stranger.ask(method, {"taskId": nobodys, "inputResponses": {}})
        assert theirs["error"]["code"] == absent["error"]["code"] == -32602
        assert theirs["error"]["message"].replace(task_id, nobodys) == absent["error"]["message"]
    assert (await Caller(suite).until(task_id, ENDED))["status"] == "completed"


async def test_a_client_of_2025_11_25_asks_for_a_task_and_waits_for_its_result(suite):
    headers = {
        "Authorization": f"Bearer {suite.addresses['api_key']}",
        "Accept": "application/json, text/event-stream",
    }
    url = f"{suite.addresses['mcp_http']}/x/conformance"
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:

        async def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            answer = await http.post(url, json=body)
            if (session := answer.headers.get("mcp-session-id")) is not None:
                http.headers["Mcp-Session-Id"] = session
                http.headers["MCP-Protocol-Version"] = "2025-11-25"
            events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
            return dict(json.loads(events[-1] if events else answer.text))

        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        greeted = await ask("initialize", hello)
        await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        call = {"name": "slow_compute", "arguments": {"seconds": 1, "label": "x"}, "task": {"ttl": 60_000}}
        started = (await ask("tools/call", call))["result"]["task"]
        listed = (await ask("tasks/list", {}))["result"]["tasks"]
        result = (await ask("tasks/result", {"taskId": started["taskId"]}))["result"]
        refused = await ask("tools/call", {"name": "greet", "arguments": {"name": "x"}, "task": {}})
    assert greeted["result"]["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
    assert started["status"] == "working"
    assert started["taskId"] in [task["taskId"] for task in listed]
    assert result["content"][0]["text"] == "computed x in 1 s"
    assert refused["error"]["code"] == -32601


async def test_a_connection_of_2025_11_25_is_told_how_its_task_stands(suite):
    address = f"{suite.addresses['mcp_ws']}/x/conformance"
    headers = {"Authorization": f"Bearer {suite.addresses['api_key']}"}
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    call = {"name": "slow_compute", "arguments": {"seconds": 1, "label": "x"}, "task": {"ttl": 60_000}}
    statuses: list[str] = []
    async with connect(address, additional_headers=headers) as ws, asyncio.timeout(60):
        for id_, method, params in ((1, "initialize", hello), (2, "tools/call", call)):
            await ws.send(json.dumps({"jsonrpc": "2.0", "id": id_, "method": method, "params": params}))
            answer = json.loads(await ws.recv())
            if id_ == 1:
                await ws.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        task_id = answer["result"]["task"]["taskId"]
        while not statuses or statuses[-1] not in ENDED:
            told = json.loads(await ws.recv())
            if told.get("method") == "notifications/tasks/status":
                assert told["params"]["taskId"] == task_id
                statuses.append(told["params"]["status"])
    assert statuses[-1] == "completed"

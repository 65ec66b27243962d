"""What loses something is confirmed: by the person where the client can ask, by a plan where it cannot; else nothing is done."""

import asyncio
import json
from typing import Any

import mcp_types as types
import pytest
from websockets.asyncio.client import ClientConnection, connect

from support.agents import ERAS, TRANSPORTS, agent
from support.mutations import altered
from support.services import new_key, running_mcp, settings_for

every_way = [pytest.param(t, e, id=f"{t}-{e}") for t in TRANSPORTS for e in ERAS]
OVERWRITE = {"path": "work/notes.txt", "content": "new", "overwrite": True}


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    return path


@pytest.fixture
def settings(database, redis_url, notes):
    files = {
        "name": "files",
        "system": "fs",
        "options": {"roots": {"work": {"path": str(notes.parent), "read_only": False}}},
    }
    return settings_for(database.mcp_url, redis_url, [files])


def person(action: str, content: dict[str, Any] | None, asked: list[str]) -> Any:
    async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action=action, content=content)  # type: ignore[arg-type]

    return answer


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_person_who_confirms_is_asked_once_and_it_is_done(database, settings, notes, transport, era):
    key, asked = await new_key(database.owner_url), []
    answers = person("accept", {"confirm": True}, asked)
    async with (
        running_mcp(settings) as url,
        agent(transport, url, key, era, view="/x/fs", elicitation_callback=answers) as client,
    ):
        done = await client.call_tool("fs_write", OVERWRITE)
    assert not done.is_error, done.content
    assert notes.read_text() == "new"
    assert len(asked) == 1
    assert "fs_write" in asked[0]
    assert "work/notes.txt" in asked[0]


@pytest.mark.parametrize(("transport", "era"), every_way)
@pytest.mark.parametrize(
    ("action", "content"), [("decline", None), ("cancel", None), ("accept", {"confirm": False})]
)
async def test_a_person_who_does_not_confirm_loses_nothing(
    database, settings, notes, transport, era, action, content
):
    key = await new_key(database.owner_url)
    answers = person(action, content, [])
    async with (
        running_mcp(settings) as url,
        agent(transport, url, key, era, view="/x/fs", elicitation_callback=answers) as client,
    ):
        refused = await client.call_tool("fs_write", OVERWRITE)
    assert refused.is_error
    assert "nothing was done" in refused.content[0].text
    assert notes.read_text() == "old"


@pytest.mark.parametrize("era", ERAS)
async def test_a_key_is_free_until_a_person_confirms_and_then_nobody_is_asked_again(
    database, settings, notes, era
):
    """H14: a decline is no answer to keep, and what is done cannot be declined any more."""
    key, asked, actions = await new_key(database.owner_url), [], ["decline", "accept", "decline"]

    async def answers(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action=actions[len(asked) - 1], content={"confirm": True})  # type: ignore[arg-type]

    async with (
        running_mcp(settings) as url,
        agent("ws", url, key, era, view="/x/fs", elicitation_callback=answers) as client,
    ):
        keyed = {**OVERWRITE, "idempotency_key": "k"}
        declined, done, again = [await client.call_tool("fs_write", keyed) for _ in range(3)]
        other = await client.call_tool("fs_write", {**keyed, "content": "worse"})
    assert "nothing was done" in declined.content[0].text
    assert not done.is_error, done.content
    assert again.structured_content == done.structured_content
    assert "other arguments" in other.content[0].text
    assert (len(asked), notes.read_text()) == (2, "new")


async def told(ws: ClientConnection, **message: Any) -> dict[str, Any]:
    """What the server says next, once it has been told this."""
    await ws.send(json.dumps({"jsonrpc": "2.0", **message}))
    async with asyncio.timeout(30):
        return dict(json.loads(await ws.recv()))


async def asked_to_confirm(ws: ClientConnection) -> int:
    """Shake hands and overwrite; the id of the question."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {"form": {}}},
        "clientInfo": {"name": "t", "version": "1"},
    }
    await told(ws, id=1, method="initialize", params=params)
    question = await told(ws, id=2, method="tools/call", params={"name": "fs_write", "arguments": OVERWRITE})
    assert question["method"] == "elicitation/create"
    return int(question["id"])


async def test_an_answer_to_what_an_earlier_connection_asked_confirms_nothing(database, settings, notes):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        address, headers = url.replace("http", "ws", 1) + "/ws/x/fs", {"X-API-Key": key}
        async with connect(address, additional_headers=headers) as ws:
            earlier = await asked_to_confirm(ws)
        async with connect(address, additional_headers=headers) as ws:
            question = await asked_to_confirm(ws)
            late = {"action": "accept", "content": {"confirm": True}}
            await ws.send(json.dumps({"jsonrpc": "2.0", "id": earlier, "result": late}))
            answer = await told(ws, id=question, result={"action": "decline"})
    assert answer["id"] == 2
    assert "nothing was done" in answer["result"]["content"][0]["text"]
    assert notes.read_text() == "old"


@pytest.mark.parametrize(("transport", "era"), every_way)
async def test_a_client_that_cannot_ask_makes_a_plan_and_applies_it(
    database, settings, notes, transport, era
):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent(transport, url, key, era, view="/x/fs") as client:
        refused = await client.call_tool("fs_write", OVERWRITE)
        planned = await client.call_tool("fs_write", {**OVERWRITE, "dry_run": True})
        untouched = notes.read_text()
        plan = planned.structured_content["plan"]
        other = await client.call_tool("fs_write", {**OVERWRITE, "content": "worse", "plan": plan})
        done = await client.call_tool("fs_write", {**OVERWRITE, "plan": plan})
    assert refused.is_error
    assert "dry_run" in refused.content[0].text
    assert untouched == "old"
    assert other.is_error
    assert "other arguments" in other.content[0].text
    assert not done.is_error, done.content
    assert notes.read_text() == "new"


async def test_what_loses_nothing_is_not_asked_for(database, settings, notes):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url, agent("ws", url, key, ERAS[1], view="/x/fs") as client:
        created = await client.call_tool("fs_write", {"path": "work/new.txt", "content": "x"})
        there = await client.call_tool("fs_write", {"path": "work/notes.txt", "content": "x"})
    assert not created.is_error, created.content
    assert there.is_error
    assert notes.read_text() == "old"


async def test_a_plan_is_its_makers_only(database, settings, notes):
    keys = [await new_key(database.owner_url) for _ in range(2)]
    async with running_mcp(settings) as url:
        async with agent("ws", url, keys[0], ERAS[1], view="/x/fs") as client:
            planned = await client.call_tool("fs_write", {**OVERWRITE, "dry_run": True})
        stolen = {**OVERWRITE, "plan": planned.structured_content["plan"]}
        async with agent("ws", url, keys[1], ERAS[1], view="/x/fs") as client:
            refused = await client.call_tool("fs_write", stolen)
            forged = await client.call_tool("fs_write", {**stolen, "plan": altered(stolen["plan"])})
    assert refused.is_error
    assert forged.is_error
    assert notes.read_text() == "old"

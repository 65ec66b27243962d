"""How a WebSocket begins and ends: by ticket where headers cannot be set, and with the credential it was begun with."""

import asyncio
import json
from typing import Any

import httpx2
import psycopg
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from devops_mcp.auth.api_keys import hash_secret, parse_key
from mcp_server.handlers.resources import ResourceHandlers
from support.happenings import happen
from support.node import MODULES, NODE, package
from support.services import new_key, running_mcp, settings_for

REVOKED_WITHIN_S = 5 + 25
"""Five seconds, and what a machine that is shared may add."""
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
STATELESS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": ENVELOPE}}
HANDSHAKE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


def address(url: str, query: str = "") -> str:
    return url.replace("http", "ws", 1) + "/ws" + query


async def ticket(url: str, key: str) -> str:
    async with httpx2.AsyncClient(timeout=60) as http:
        sold = await http.post(f"{url}/ws/tickets", headers={"Authorization": f"Bearer {key}"})
    assert sold.status_code == 201
    assert sold.headers["cache-control"] == "no-store"
    return str(sold.json()["ticket"])


async def ask(ws: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await ws.send(json.dumps(message))
    async with asyncio.timeout(30):
        return dict(json.loads(await ws.recv()))


async def status_of(wanted: str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(wanted):
            pass
    return refused.value.response.status_code


async def revoke(database, key: str) -> None:
    parts = parse_key(key)
    assert parts is not None
    async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as connection:
        await connection.execute("UPDATE api_keys SET revoked_at = now() WHERE prefix = %s", (parts.prefix,))


async def test_a_ticket_opens_one_connection_on_any_replica(database, settings):
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as seller, running_mcp(settings) as other:
        sold = await ticket(seller, key)
        async with connect(address(other, f"?ticket={sold}")) as ws:
            assert "tools" in (await ask(ws, STATELESS))["result"]
        assert await status_of(address(other, f"?ticket={sold}")) == 401


async def test_who_buys_tickets_too_often_is_told_when_there_are_more(database, redis_url):
    """S01: each is kept for half a minute, by which a program that asks for ever new ones would fill Redis."""
    settings = settings_for(database.mcp_url, redis_url, requests_per_s=0.001, requests_burst=2)
    key, other = await new_key(database.owner_url), await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        await ticket(url, key), await ticket(url, key)
        async with httpx2.AsyncClient(timeout=60) as http:
            refused = await http.post(f"{url}/ws/tickets", headers={"X-API-Key": key})
        await ticket(url, other)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0


async def test_only_a_ticket_may_stand_in_an_address(database, settings):
    """S01"""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        for query in (f"?ticket={key}", "?ticket=", f"?api_key={key}", f"?access_token={key}"):
            assert await status_of(address(url, query)) == 401
        async with httpx2.AsyncClient(timeout=60) as http:
            assert (await http.post(f"{url}/ws/tickets")).status_code == 401
            assert (await http.get(f"{url}/ws/tickets")).status_code == 405


async def test_who_asks_for_what_is_not_there_or_without_an_upgrade_is_told_so_in_a_problem_document(
    settings,
):
    async with running_mcp(settings) as url, httpx2.AsyncClient(base_url=url, timeout=60) as http:
        answers = [await http.get(path) for path in ("/ws", "/ws/x/github/readonly", "/nowhere")]
        answers.append(await http.put("/mcp"))
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (426, "upgrade_required"),
        (426, "upgrade_required"),
        (404, "not_found"),
        (405, "method_not_allowed"),
    ]
    assert answers[0].headers["upgrade"] == "websocket"
    assert "ws://" in answers[0].json()["detail"]


async def test_without_redis_no_ticket_is_sold_or_taken_and_headers_still_do(database):
    """R01"""
    key = await new_key(database.owner_url)
    headers = {"Authorization": f"Bearer {key}"}
    async with running_mcp(settings_for(database.mcp_url, "redis://127.0.0.1:1/0")) as url:
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            assert (await http.post(f"{url}/ws/tickets")).status_code == 503
        assert await status_of(address(url, "?ticket=x")) == 503
        async with connect(address(url), additional_headers=headers) as ws:
            assert "tools" in (await ask(ws, STATELESS))["result"]


@pytest.mark.parametrize("by_ticket", [False, True])
@pytest.mark.parametrize("first", [STATELESS, HANDSHAKE], ids=["stateless", "handshake"])
async def test_a_revoked_key_closes_what_it_opened_and_nothing_else(database, settings, first, by_ticket):
    """L05: within five seconds."""
    keys = [await new_key(database.owner_url) for _ in range(2)]
    async with running_mcp(settings) as url:
        opened = []
        for key in keys:
            query = f"?ticket={await ticket(url, key)}" if by_ticket else ""
            headers = {} if by_ticket else {"Authorization": f"Bearer {key}"}
            opened.append(await connect(address(url, query), additional_headers=headers))
            assert "result" in await ask(opened[-1], first)
        await revoke(database, keys[0])
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await opened[0].wait_closed()
        assert opened[0].close_code == 4401
        pong = await opened[1].ping()
        await asyncio.wait_for(pong, 30)
        await opened[1].close()


async def renew(ws: ClientConnection, credential: object) -> dict[str, Any]:
    params = {"authorization": credential}
    return await ask(
        ws, {"jsonrpc": "2.0", "id": "renewal", "method": "io.devops-mcp/authenticate", "params": params}
    )


@pytest.mark.parametrize("first", [STATELESS, HANDSHAKE], ids=["stateless", "handshake"])
async def test_a_connection_outlasts_its_credential_when_it_is_given_the_next_one_in_time(
    database, settings, first
):
    """S01: another caller's credential is refused, and so is one that is not valid; the connection then goes on as before."""
    key, others = await new_key(database.owner_url), await new_key(database.owner_url)
    parts = parse_key(key)
    assert parts is not None
    following = f"dm_{parts.prefix}_{parts.secret[::-1]}"
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        running_mcp(settings) as url,
        connect(address(url), additional_headers=headers) as left_behind,
        connect(address(url), additional_headers=headers) as ws,
    ):
        assert (await renew(ws, f"Bearer {key}"))["result"] == {}
        assert "result" in await ask(ws, first)
        for wrong in (f"Bearer {others}", f"Bearer {following}", "Bearer", 7):
            assert (await renew(ws, wrong))["error"]["code"] in (-32001, -32602)
        rotated = (
            "UPDATE api_keys SET secret_hash = %s, previous_hash = %s, previous_until = now() + %s::interval"
        )
        async with await psycopg.AsyncConnection.connect(
            database.superuser_url, autocommit=True
        ) as connection:
            both = (hash_secret(parts.secret[::-1]), hash_secret(parts.secret))
            where = " WHERE prefix = %s"
            await connection.execute(rotated + where, (*both, "1 hour", parts.prefix))
            assert (await renew(ws, f"Bearer {following}"))["result"] == {}
            await connection.execute(rotated + where, (*both, "-1 hour", parts.prefix))
            # Whoever still holds the one before is out by now, so that a sweep has been.
            async with asyncio.timeout(REVOKED_WITHIN_S):
                await left_behind.wait_closed()
            assert left_behind.close_code == 4401
        again = {**first, "id": 2} if first is STATELESS else {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert "result" in await ask(ws, again)


async def give_role(database, key: str, role: str) -> None:
    parts = parse_key(key)
    assert parts is not None
    async with await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE api_keys SET roles = ARRAY[%s], grants = '{}' WHERE prefix = %s", (role, parts.prefix)
        )


async def test_who_may_less_than_before_has_to_come_again_and_who_may_more_stays(database, settings):
    """A subscription does not outlive the right to read what it tells of: within five seconds, on a socket and on a stream."""
    falling = await new_key(database.owner_url, "search:read", grants=(), roles=("admin",))
    rising = await new_key(database.owner_url, "search:read", grants=(), roles=("viewer",))
    listen = {"method": "subscriptions/listen", "params": {"_meta": ENVELOPE, "notifications": {}}}
    headers = {
        "Authorization": f"Bearer {falling}",
        "Accept": "application/json, text/event-stream",
        "Mcp-Method": "subscriptions/listen",
        "MCP-Protocol-Version": "2026-07-28",
    }
    body = {"jsonrpc": "2.0", "id": 1, **listen}
    async with (
        running_mcp(settings) as url,
        httpx2.AsyncClient(timeout=30) as http,
        connect(address(url), additional_headers={"X-API-Key": falling}) as socket,
        connect(address(url), additional_headers={"X-API-Key": rising}) as other,
        http.stream("POST", f"{url}/mcp", json=body, headers=headers) as stream,
    ):
        assert stream.status_code == 200
        few = len((await ask(other, STATELESS))["result"]["tools"])
        await give_role(database, falling, "viewer")
        await give_role(database, rising, "admin")
        async with asyncio.timeout(REVOKED_WITHIN_S):
            await socket.wait_closed()
        async with asyncio.timeout(REVOKED_WITHIN_S):
            async for _ in stream.aiter_lines():
                pass
        assert socket.close_code == 1012
        async with asyncio.timeout(30):
            while len((await ask(other, STATELESS))["result"]["tools"]) == few:
                await asyncio.sleep(0.1)
        async with connect(address(url), additional_headers={"X-API-Key": falling}) as again:
            assert len((await ask(again, STATELESS))["result"]["tools"]) == few


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_request_beyond_the_limit_and_a_repeated_id_are_refused_and_the_rest_goes_on(
    database, settings, monkeypatch
):
    """J02. Streams have a smaller limit of their own."""
    monkeypatch.setattr(ResourceHandlers, "read", never)
    key = await new_key(database.owner_url)
    listen = {"method": "subscriptions/listen", "params": {"_meta": ENVELOPE, "notifications": {}}}
    read = {"method": "resources/read", "params": {"_meta": ENVELOPE, "uri": "devops://events"}}
    async with (
        running_mcp(settings) as url,
        connect(address(url), additional_headers={"Authorization": f"Bearer {key}"}) as ws,
    ):
        for number in range(8):
            told = await ask(ws, {"jsonrpc": "2.0", "id": number, **listen})
            assert told["method"] == "notifications/subscriptions/acknowledged"
        one_stream_more = await ask(ws, {"jsonrpc": "2.0", "id": 8, **listen})
        for number in range(8, 64):
            await ws.send(json.dumps({"jsonrpc": "2.0", "id": number, **read}))
        beyond = await ask(ws, STATELESS | {"id": 100})
        repeated = await ask(ws, STATELESS | {"id": 3})
        await ws.send(
            json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}})
        )
        async with asyncio.timeout(30):
            while "error" in (again := await ask(ws, STATELESS | {"id": 101})):
                await asyncio.sleep(0.05)
    assert one_stream_more["error"]["code"] == -32000
    assert (beyond["id"], beyond["error"]["code"]) == (100, -32000)
    assert repeated["error"]["code"] == -32600
    assert "tools" in again["result"]


async def test_so_it_is_in_the_handshake_era(database, redis_url, tmp_path):
    """J02: whoever answers none of the questions that its calls ask has all of them under way."""
    (tmp_path / "notes.txt").write_text("old")
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    files = {"name": "files", "system": "fs", "options": {"roots": roots}}
    overwrite = {"path": "work/notes.txt", "content": "new", "overwrite": True}
    call = {"method": "tools/call", "params": {"name": "fs_write", "arguments": overwrite}}
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings_for(database.mcp_url, redis_url, [files])) as url,
        connect(address(url, "/x/fs"), additional_headers={"Authorization": f"Bearer {key}"}) as ws,
    ):
        await greeted(ws, {"elicitation": {}})
        for number in range(64):
            asked = await ask(ws, {"jsonrpc": "2.0", "id": number, **call})
            assert asked["method"] == "elicitation/create"
        beyond = await ask(ws, {"jsonrpc": "2.0", "id": 100, **call})
        ping = await ask(ws, {"jsonrpc": "2.0", "id": 101, "method": "ping"})
        repeated = await ask(ws, {"jsonrpc": "2.0", "id": "3", **call})
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": 0}}
        assert (await ask(ws, {"jsonrpc": "2.0", **cancelled}))["method"] == "notifications/cancelled"
        async with asyncio.timeout(30):
            while "error" in (again := await ask(ws, {"jsonrpc": "2.0", "id": 102, "method": "ping"})):
                await asyncio.sleep(0.05)
    assert beyond["error"]["code"] == ping["error"]["code"] == -32000
    assert repeated["error"]["code"] == -32600
    assert again["result"] == {}


async def greeted(ws: ClientConnection, capabilities: dict[str, Any] | None = None) -> str:
    """Shake hands; the connection's session id."""
    greeting = {**HANDSHAKE, "params": {**HANDSHAKE["params"], "capabilities": capabilities or {}}}
    assert "result" in await ask(ws, greeting)
    await ws.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    assert ws.response is not None
    return str(ws.response.headers["mcp-session-id"])


async def until_told(ws: ClientConnection) -> str:
    async with asyncio.timeout(30):
        while True:
            message = json.loads(await ws.recv())
            if message.get("method") == "notifications/resources/updated":
                return str(message["params"]["uri"])


@pytest.mark.parametrize("by", ["header", "address"])
async def test_who_comes_back_is_told_what_was_missed_on_another_replica(database, redis_url, settings, by):
    key = await new_key(database.owner_url)
    headers = {"Authorization": f"Bearer {key}"}
    async with running_mcp(settings) as one, running_mcp(settings) as other:
        async with connect(address(one), additional_headers=headers) as ws:
            session = await greeted(ws)
            subscribe = {"method": "resources/subscribe", "params": {"uri": "devops://events/ci"}}
            assert "result" in await ask(ws, {"jsonrpc": "2.0", "id": 2, **subscribe})
        await happen(database.worker_url, redis_url, 7)
        again = {**headers, "Mcp-Session-Id": session} if by == "header" else headers
        query = "" if by == "header" else f"?session={session}"
        async with connect(address(other, query), additional_headers=again) as ws:
            assert await greeted(ws) == session
            assert await until_told(ws) == "devops://events/ci"


async def test_anothers_session_gives_nothing_and_stays_its_owners(database, redis_url, settings):
    """M05"""
    keys = [await new_key(database.owner_url) for _ in range(2)]
    async with running_mcp(settings) as url:
        async with connect(address(url), additional_headers={"X-API-Key": keys[0]}) as ws:
            session = await greeted(ws)
            subscribe = {"method": "resources/subscribe", "params": {"uri": "devops://events"}}
            assert "result" in await ask(ws, {"jsonrpc": "2.0", "id": 2, **subscribe})
        await happen(database.worker_url, redis_url, 7)
        stolen = {"X-API-Key": keys[1], "Mcp-Session-Id": session}
        async with connect(address(url), additional_headers=stolen) as ws:
            assert await greeted(ws) != session
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 1)
        own = {"X-API-Key": keys[0], "Mcp-Session-Id": session}
        async with connect(address(url), additional_headers=own) as ws:
            assert await greeted(ws) == session
            assert await until_told(ws) == "devops://events"


async def test_the_typescript_sdk_1_over_websocket_by_ticket(database, settings):
    package("@modelcontextprotocol/sdk")
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            str(MODULES.parent / "typescript_v1_websocket.mjs"),
            address(url, f"?ticket={await ticket(url, key)}"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said = json.loads(out)
    assert "context_create" in said["tools"]
    assert not said["isError"]

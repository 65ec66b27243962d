"""The WebSocket transport, frame by frame, with a plain WebSocket client."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mcp_server.transports.under_way import MAX_IN_FLIGHT
from support.services import new_key, running_mcp, settings_for

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


def greeting(**experimental: object) -> str:
    """`initialize` of a client that says much of itself."""
    capabilities = {"experimental": {name: {"is": value} for name, value in experimental.items()}}
    return json.dumps({**INITIALIZE, "params": {**INITIALIZE["params"], "capabilities": capabilities}})


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.mcp_url, redis_url)


def address(url: str) -> str:
    return url.replace("http", "ws", 1) + "/ws"


async def ask(socket, message) -> dict:
    await socket.send(message if isinstance(message, str) else json.dumps(message))
    async with asyncio.timeout(30):
        return json.loads(await socket.recv())


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({}, "", 401),
        ({"Authorization": "Bearer dm_aaaaaaaaaaaa_" + "x" * 43}, "", 401),
        ({}, "?api_key={key}", 401),
        ({"X-API-Key": "{key}", "Origin": "https://evil.example"}, "", 403),
        ({"X-API-Key": "{key}", "Origin": "null"}, "", 403),
        ({"X-API-Key": "{key}", "Host": "second.example"}, "", 400),
    ],
)
async def test_a_handshake_that_must_not_be_is_refused_before_the_upgrade(
    database, settings, headers, path, status
):
    """S01"""
    key = await new_key(database.owner_url)
    filled = {name: value.format(key=key) for name, value in headers.items()}
    async with running_mcp(settings) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(address(url) + path.format(key=key), additional_headers=filled):
                pass
    assert refused.value.response.status_code == status


async def test_a_host_that_is_not_served_is_misdirected(database, settings):
    """S01, H09"""
    key = await new_key(database.owner_url)
    async with running_mcp(settings) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                f"ws://evil.example:{port}/ws",
                host="127.0.0.1",
                port=port,
                additional_headers={"X-API-Key": key},
            ):
                pass
    assert refused.value.response.status_code == 421


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", -32700),
        ("", -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":NaN}}', -32700),
        ("[]", -32600),
        ('[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', -32600),
        ("7", -32600),
        ('{"jsonrpc":"1.0","id":1,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":null,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":1.5,"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":{},"method":"tools/list"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}', -32700),
        pytest.param('{"jsonrpc":"2.0","id":"%s","method":"ping"}' % ("x" * 1_001), -32600, id="long id"),
        pytest.param(greeting(vendor="x" * 65_536), -32600, id="long greeting"),
        pytest.param(greeting(**{f"{i}": {} for i in range(250)}), -32600, id="dense greeting"),
    ],
)
async def test_a_bad_frame_is_answered_and_the_connection_goes_on(database, settings, frame, code):
    """J01, J02"""
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        connect(address(url), additional_headers={"X-API-Key": key}) as socket,
    ):
        assert (await ask(socket, frame))["error"]["code"] == code
        assert (await ask(socket, INITIALIZE))["result"]["protocolVersion"] == "2025-11-25"


async def test_what_is_both_request_and_answer_is_refused_and_takes_nobodys_place(database, settings):
    """J01: nor is an answer that cannot be read answered under an id that a request of the client's may have."""
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        connect(address(url), additional_headers={"X-API-Key": key}) as socket,
    ):
        await ask(socket, INITIALIZE)
        for number in range(MAX_IN_FLIGHT + 1):
            both = {"jsonrpc": "2.0", "id": number, "method": "ping", "error": {"code": 1, "message": "x"}}
            refused = await ask(socket, json.dumps(both))
            assert (refused["id"], refused["error"]["code"]) == (number, -32600)
        unread = await ask(socket, '{"jsonrpc":"2.0","id":7,"error":"x"}')
        assert (unread["id"], unread["error"]["code"]) == (None, -32600)
        assert (await ask(socket, '{"jsonrpc":"2.0","id":7,"method":"ping"}'))["result"] == {}


async def test_an_unknown_method_is_told_so(database, settings):
    """J03"""
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings) as url,
        connect(address(url), additional_headers={"X-API-Key": key}) as socket,
    ):
        await ask(socket, INITIALIZE)
        await socket.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        answer = await ask(socket, {"jsonrpc": "2.0", "id": 2, "method": "tools/eat", "params": {}})
    assert answer["error"]["code"] == -32601


async def test_a_stop_closes_open_sockets_with_restart(database, settings):
    stop = asyncio.Event()
    key = await new_key(database.owner_url)
    async with (
        running_mcp(settings, stop) as url,
        connect(address(url), additional_headers={"X-API-Key": key}) as socket,
    ):
        await ask(socket, INITIALIZE)
        stop.set()
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(30):
                await socket.recv()
        assert socket.close_code == 1012

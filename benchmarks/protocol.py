"""A call of a tool that does next to nothing, on every transport: what authentication, rate limit, audit and the protocol itself cost.

Beside it an echo of as many bytes by a bare Starlette on the same transport, which is the least that any server does; and the SDK's own
server with one trivial tool. Each server is one process; the generator is another.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.measure import Row, Series, cpu_seconds, throughput
from benchmarks.world import ROOT, Connection, World, connected, request, wait_for

CONNECTIONS = 16
ROUNDS = 4
EACH = 150
IDLE = 5_000
FIRST = 500
WEBSOCKET_BUDGET_US, HTTP_BUDGET_US = 500, 900
"""CPU of one call, whatever its revision; above it something that should be remembered is done anew, or goes the long way."""
MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
HTTP_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

Exchange = Callable[[], Awaitable[None]]


async def protocol(world: World) -> list[Row]:
    """Calls a second and CPU a call, by transport and revision."""
    with sdk_server() as sdk:
        rows = [await _websocket(world, era) for era in (MODERN, HANDSHAKE)]
        rows += [await _http(world, era) for era in (MODERN, HANDSHAKE)]
        rows.append(await _beside_sdk(world, sdk))
    return rows


async def idle(world: World) -> list[Row]:
    """Memory of open WebSockets that say nothing, without the first: what the process loads with them is not theirs."""
    pid = world.suite.pids["mcp-server"]
    await _at_rest(pid)
    async with AsyncExitStack() as stack:
        await _open_idle(world, stack, FIRST)
        before = _resident_kib(pid)
        await _open_idle(world, stack, IDLE - FIRST)
        each = (_resident_kib(pid) - before) / (IDLE - FIRST)
    return [Row(f"{IDLE:,} idle sockets", f"{each:.1f} KiB each", "goal: under 40 KiB")]


async def _at_rest(pid: int) -> None:
    """Wait until a process has loaded what it loads after its start: until it has not grown by a MiB within five seconds."""
    before = 0.0
    while (now := _resident_kib(pid)) > before + 1_024:
        before = now
        await asyncio.sleep(5)


async def _open_idle(world: World, stack: AsyncExitStack, count: int) -> None:
    for _ in range(count // 100):
        for ws in await asyncio.gather(*(_open(world) for _ in range(100))):
            stack.push_async_callback(ws.close)


async def _websocket(world: World, era: str) -> Row:
    async with AsyncExitStack() as stack:
        ours = [await stack.enter_async_context(_connecting(world)) for _ in range(CONNECTIONS)]
        if era == HANDSHAKE:
            for ws in ours:
                await _greet(ws)
        frame = json.dumps(_call(era))
        size = len(await _answer(ours[0], frame))
        url = f"{world.bare.replace('http', 'ws', 1)}/echo?bytes={size}"
        bare = [await stack.enter_async_context(connect(url, compression=None)) for _ in range(CONNECTIONS)]
        first, second, cpu = await _measured(
            world,
            [_exchanging(ws, frame) for ws in ours],
            [_exchanging(ws, frame) for ws in bare],
            WEBSOCKET_BUDGET_US,
        )
    return throughput(f"call, ws {era}", first, second, cpu)


async def _http(world: World, era: str) -> Row:
    base = str(world.suite.addresses["mcp_http"]).removesuffix("/mcp")
    headers = {**HTTP_HEADERS, **world.suite.headers}
    async with AsyncExitStack() as stack:
        ours = [await stack.enter_async_context(connected(base)) for _ in range(CONNECTIONS)]
        sessions = [await _begin(one, headers, era) for one in ours]
        body = json.dumps(_call(era)).encode()
        requests = [request("/mcp", headers | session, body) for session in sessions]
        size = len(await ours[0].body(requests[0]))
        bare = [await stack.enter_async_context(connected(world.bare)) for _ in range(CONNECTIONS)]
        plain = request(f"/answer?bytes={size}", HTTP_HEADERS, body)
        first, second, cpu = await _measured(
            world,
            [_sending(one, sent) for one, sent in zip(ours, requests, strict=True)],
            [_sending(one, plain) for one in bare],
            HTTP_BUDGET_US,
        )
    return throughput(f"call, http {era}", first, second, cpu)


async def _beside_sdk(world: World, sdk: str) -> Row:
    """Ours over WebSocket beside the SDK's own server over HTTP, which is its fastest way."""
    async with AsyncExitStack() as stack:
        ours = [await stack.enter_async_context(_connecting(world)) for _ in range(CONNECTIONS)]
        frame = json.dumps(_call(MODERN))
        theirs = [await stack.enter_async_context(connected(sdk)) for _ in range(CONNECTIONS)]
        call = _call(MODERN, name="describe")
        sent = request("/mcp", HTTP_HEADERS | _mirrored(call), json.dumps(call).encode(), host=sdk[7:])
        first, second, cpu = await _measured(
            world,
            [_exchanging(ws, frame) for ws in ours],
            [_sending(one, sent) for one in theirs],
            WEBSOCKET_BUDGET_US,
        )
    row = throughput("ws beside the SDK's own", first, second, cpu)
    return Row(row.part, row.ours, row.bare, f"{first.rate / second.rate:.1f} × theirs")


async def _measured(
    world: World, ours: list[Exchange], bare: list[Exchange], budget_us: float
) -> tuple[Series, Series, str]:
    pid, used = world.suite.pids["mcp-server"], []
    first, second = Series(), Series()
    await _round(ours, 20), await _round(bare, 20)  # warm
    for _ in range(ROUNDS):
        before = cpu_seconds(pid)
        for series, side in ((first, ours), (second, bare)):
            rate, seconds = await _round(side, EACH)
            series.rates.append(rate)
            series.seconds += seconds
        used.append((cpu_seconds(pid) - before) / (EACH * len(ours)))
    cpu_us = sorted(used)[len(used) // 2] * 1e6
    assert cpu_us < budget_us, f"a call costs {cpu_us:,.0f} µs of CPU; the budget is {budget_us:,}"
    return first, second, f", {cpu_us:,.0f} µs CPU a call"


async def _round(exchanges: list[Exchange], each: int) -> tuple[float, list[float]]:
    seconds: list[float] = []

    async def work(exchange: Exchange) -> None:
        for _ in range(each):
            started = time.perf_counter()
            await exchange()
            seconds.append(time.perf_counter() - started)

    begun = time.perf_counter()
    await asyncio.gather(*(work(exchange) for exchange in exchanges))
    return each * len(exchanges) / (time.perf_counter() - begun), seconds


def _call(era: str, name: str = "tools_describe") -> dict[str, Any]:
    params: dict[str, Any] = {"name": name, "arguments": {"names": ["task_get"]}}
    if era == MODERN:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


def _mirrored(call: dict[str, Any]) -> dict[str, str]:
    return {
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": str(call["method"]),
        "Mcp-Name": str(call["params"]["name"]),
    }


async def _begin(connection: Connection, headers: dict[str, str], era: str) -> dict[str, str]:
    """The headers that a call of this era needs; in the handshake era those of a session begun for it."""
    if era == MODERN:
        return _mirrored(_call(MODERN))
    session = await connection.header(
        request("/mcp", headers, json.dumps(_hello()).encode()), "mcp-session-id"
    )
    return {"Mcp-Session-Id": session, "MCP-Protocol-Version": HANDSHAKE}


def _hello() -> dict[str, Any]:
    client = {"name": "bench", "version": "1"}
    params = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": client}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


async def _greet(ws: ClientConnection) -> None:
    await _answer(ws, json.dumps(_hello()))
    await ws.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')


def _connecting(world: World) -> connect:
    return connect(world.suite.addresses["mcp_ws"], additional_headers=world.suite.headers, compression=None)


async def _open(world: World) -> ClientConnection:
    return await _connecting(world)


async def _answer(ws: ClientConnection, frame: str) -> str:
    await ws.send(frame)
    answer = await ws.recv()
    assert isinstance(answer, str)
    assert '"error"' not in answer[:60], answer
    return answer


def _exchanging(ws: ClientConnection, frame: str) -> Exchange:
    async def exchange() -> None:
        await ws.send(frame)
        await ws.recv()

    return exchange


def _sending(connection: Connection, sent: bytes) -> Exchange:
    async def exchange() -> None:
        status = await connection.send(sent)
        assert status == 200, status

    return exchange


@contextmanager
def sdk_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sdk_server", str(port)], cwd=ROOT, env=dict(os.environ)
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _resident_kib(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmRSS:"))
    return float(line.split()[1])

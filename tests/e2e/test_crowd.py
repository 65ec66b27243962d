"""A crowd on one mcp-server: a thousand connections that say nothing, two hundred that ask and never read. Others are served as before."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from support.mcp_process import an_mcp_server
from support.services import new_key

IDLE = 1_000
SILENT = 200
ASKED = 60
MAX_GROWTH_MIB = 160
ANSWERED_WITHIN_S = 5.0
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def listing(number: int) -> str:
    params = {"_meta": ENVELOPE}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/list", "params": params})


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def opened(stack: AsyncExitStack, count: int, wanted: Any) -> list[ClientConnection]:
    sockets: list[ClientConnection] = []
    for begin in range(0, count, 50):
        some = min(50, count - begin)
        sockets += await asyncio.gather(*(stack.enter_async_context(wanted()) for _ in range(some)))
    return sockets


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rate", ["0", "200"])
async def test_a_crowd_that_does_not_read_costs_little_and_holds_nobody_up(database, redis_url, rate):
    """Both where all of the crowd's requests are answered, and where nearly all are refused as too many."""
    crowd, somebody = await new_key(database.owner_url), await new_key(database.owner_url)
    settings = {
        "REQUESTS_PER_S": rate,
        "DATABASE_URL": database.mcp_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": '["a master key for the tests, and nothing else"]',
        "EMBEDDING_PROVIDER": "lexical",
        "MCP__RECEIVE_TIMEOUT_S": "60",  # the crowd is one process, which a crowded machine holds up
    }
    async with an_mcp_server(settings) as server, AsyncExitStack() as stack:

        def wanted(key: str) -> connect:
            return connect(
                server.url.replace("http", "ws", 1) + "/ws",
                additional_headers={"Authorization": f"Bearer {key}"},
                compression=None,
                ping_interval=None,
                open_timeout=60,
                close_timeout=0.1,
            )

        [polite] = await opened(stack, 1, partial(wanted, somebody))
        before = resident_mib(server.pid)
        await opened(stack, IDLE, partial(wanted, crowd))
        silent = await opened(stack, SILENT, partial(wanted, crowd))
        for ws in silent:
            ws.transport.pause_reading()
            for number in range(ASKED):
                await ws.send(listing(number))
        slowest = 0.0
        for number in range(100):
            begun = time.monotonic()
            await polite.send(listing(number))
            answer = json.loads(await asyncio.wait_for(polite.recv(), 30))
            assert answer["result"]["tools"]
            slowest = max(slowest, time.monotonic() - begun)
        grown = resident_mib(server.pid) - before
        for ws in silent:
            ws.transport.abort()
    assert slowest < ANSWERED_WITHIN_S
    assert grown < MAX_GROWTH_MIB, f"{grown:.0f} MiB for {IDLE + SILENT} connections"

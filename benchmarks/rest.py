"""Reading, appending to and listing contexts over REST, beside bare Starlette routes that send the same single SQL statement each.

The bare routes authenticate nobody, set the tenant once a connection, limit nothing, check nothing and log nothing; both serve one process.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from benchmarks.measure import Row, alternate, cpu_seconds, latency, throughput
from benchmarks.world import Connection, World, connected, request, spread

CONNECTIONS = 16
REQUESTS = 400
ROUNDS = 4
ARRIVALS_S = int(os.environ.get("REST_ARRIVALS_S", "200"))
"""Requests a second at the fixed rate; REST_ARRIVALS_S says otherwise."""
ARRIVING_S = 2.0
MAX_CONNECTIONS = 64
CONTEXTS = "/api/v1/contexts"
JSON = {"Content-Type": "application/json"}

Make = Callable[[int], bytes]
"""The request of this number."""


async def rest(world: World) -> list[Row]:
    """Requests a second, as many as 16 connections get through; and how long one takes at a fixed rate of arrival."""
    paused = [world.suite.pids[name] for name in ("worker", "mcp-server")]
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        contexts = await _prepared(world)
        rows = await _missing(world)
        for name, (ours, bare, status) in _operations(world, contexts).items():
            rows += await _measured(world, name, ours, bare, status)
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
    return rows


async def _prepared(world: World) -> list[str]:
    body = json.dumps({"title": "benchmark", "metadata": {"severity": 2}}).encode()
    async with connected(world.suite.addresses["rest"]) as connection:
        make = request(CONTEXTS, JSON | world.suite.headers, body)
        return [json.loads(await connection.body(make))["id"] for _ in range(40)]


def _operations(world: World, contexts: list[str]) -> dict[str, tuple[Make, Make, int]]:
    own = world.suite.headers
    items = json.dumps({"items": [{"text": "what was found, in a sentence or so, as agents write it down"}]})

    def one(number: int) -> str:
        return contexts[number % len(contexts)]

    return {
        "context read": (
            lambda n: request(f"{CONTEXTS}/{one(n)}", own, b"", method="GET"),
            lambda n: request(f"/contexts/{one(n)}", {}, b"", method="GET"),
            200,
        ),
        "context list": (
            lambda n: request(f"{CONTEXTS}?limit=20", own, b"", method="GET"),
            lambda n: request("/contexts?limit=20", {}, b"", method="GET"),
            200,
        ),
        "context append": (
            lambda n: request(f"{CONTEXTS}/{one(n)}/items", JSON | own, items.encode()),
            lambda n: request(f"/contexts/{one(n)}/items", JSON, items.encode()),
            201,
        ),
    }


async def _missing(world: World) -> list[Row]:
    """What the way to a handler costs: a path that is not there."""
    ours = [request("/nothing", world.suite.headers, b"", method="GET")] * REQUESTS
    bare = [request("/nothing", {}, b"", method="GET")] * REQUESTS
    address = world.suite.addresses["rest"]
    first, second = await alternate(
        lambda: spread(address, ours, CONNECTIONS, 404),
        lambda: spread(world.bare, bare, CONNECTIONS, 404),
        ROUNDS,
    )
    return [throughput("REST 404", first, second)]


async def _measured(world: World, name: str, ours: Make, bare: Make, status: int) -> list[Row]:
    address, pid = world.suite.addresses["rest"], world.suite.pids["rest-api"]
    used: list[float] = []

    async def our_round() -> tuple[float, list[float]]:
        before = cpu_seconds(pid)
        result = await spread(address, [ours(n) for n in range(REQUESTS)], CONNECTIONS, status)
        used.append((cpu_seconds(pid) - before) / REQUESTS)
        return result

    async def bare_round() -> tuple[float, list[float]]:
        return await spread(world.bare, [bare(n) for n in range(REQUESTS)], CONNECTIONS, status)

    await our_round(), await bare_round()  # warm
    used.clear()
    first, second = await alternate(our_round, bare_round, ROUNDS)
    cpu = f", {sum(used) / len(used) * 1_000:.2f} ms CPU"
    paced = await alternate(
        lambda: arriving(address, ours, status), lambda: arriving(world.bare, bare, status), ROUNDS
    )
    return [
        throughput(f"REST {name}", first, second, cpu),
        latency(f"REST {name}, {ARRIVALS_S}/s arriving", *paced),
    ]


async def arriving(base_url: str, make: Make, expect: int) -> tuple[float, list[float]]:
    """Requests at their times, whether those before are answered or not; each is timed from when it was due."""
    count = int(ARRIVALS_S * ARRIVING_S)
    async with AsyncExitStack() as stack:
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(MAX_CONNECTIONS):
            free.put_nowait(await stack.enter_async_context(connected(base_url)))
        begun = time.perf_counter() + 0.05
        seconds = await asyncio.gather(
            *(_due(free, make(n), begun + n / ARRIVALS_S, expect) for n in range(count))
        )
    return count / (time.perf_counter() - begun), list(seconds)


async def _due(free: "asyncio.Queue[Connection]", wanted: bytes, due: float, expect: int) -> float:
    await asyncio.sleep(max(due - time.perf_counter(), 0))
    async with _taken(free) as connection:
        status = await connection.send(wanted)
    assert status == expect, status
    return time.perf_counter() - due


@asynccontextmanager
async def _taken(free: "asyncio.Queue[Connection]") -> AsyncIterator[Connection]:
    connection = await free.get()
    try:
        yield connection
    finally:
        free.put_nowait(connection)

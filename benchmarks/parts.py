"""The parts of the benchmark; each gives rows for the table."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import psycopg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.measure import Row, Series, alternate, cpu_seconds, latency, throughput, timed_calls
from benchmarks.world import World, connected, request, spread
from devops_mcp.embedding.base import Purpose
from devops_mcp.embedding.local import Model, default_folder, open_local
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.passages import QueryVector, SearchFilter
from support.github_webhooks import failed_run, signed

Part = Callable[[World], Awaitable[list[Row]]]

ROUNDS = 4
CONNECTIONS = 16
DELIVERIES = 400
PASSAGES = 10_000
SPACE = "all-MiniLM-L6-v2/int8/384"


def deliveries(world: World, count: int) -> tuple[list[bytes], list[bytes]]:
    """Requests with distinct signed bodies for us, and the same bodies for the bare route."""
    ours, bare = [], []
    for _ in range(count):
        body, headers = signed(
            "workflow_run",
            failed_run(message=str(uuid4())),
            world.suite.addresses["webhook_secrets"]["github"],
        )
        ours.append(request("/webhooks/github", headers, body))
        bare.append(request("/store", {"Content-Type": "application/json"}, body))
    return ours, bare


async def intake(world: World) -> list[Row]:
    """Accepted webhooks, with the worker and mcp-server paused so that only intake is measured."""
    paused = [world.suite.pids[name] for name in ("worker", "mcp-server")]
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        prepared = [deliveries(world, DELIVERIES) for _ in range(ROUNDS + 1)]
        ours, bare = iter([p[0] for p in prepared]), iter([p[1] for p in prepared])

        async def our_round() -> tuple[float, list[float]]:
            return await spread(world.suite.addresses["rest"], next(ours), CONNECTIONS, 202)

        async def bare_round() -> tuple[float, list[float]]:
            return await spread(world.bare, next(bare), CONNECTIONS, 202)

        await our_round(), await bare_round()  # warm
        first, second = await alternate(our_round, bare_round, ROUNDS)
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
    return [throughput("intake", first, second)]


async def tools(world: World) -> list[Row]:
    """`context_get` over WebSocket in both eras, beside an echo of as many bytes."""
    return [await _tools(world, era) for era in ("2025-11-25", "2026-07-28")]


async def _tools(world: World, era: str) -> Row:
    address, headers = world.suite.addresses["mcp_ws"], world.suite.headers
    meta = {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    }
    envelope = meta if era == "2026-07-28" else {}
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(connect(address, additional_headers=headers, compression=None))
            for _ in range(CONNECTIONS)
        ]
        if not envelope:
            for socket in ours:
                await _initialize(socket, era)
        created = await _call(ours[0], "context_create", {"title": "benchmark"}, envelope)
        context_id = json.loads(created["result"]["content"][0]["text"])["data"]["context_id"]
        call = {"name": "context_get", "arguments": {"context_id": context_id}, **envelope}
        frame = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call})
        size = len(await _exchange(ours[0], frame))
        url = f"{world.bare.replace('http', 'ws', 1)}/echo?bytes={size}"
        bare = [await stack.enter_async_context(connect(url, compression=None)) for _ in range(CONNECTIONS)]
        pid = world.suite.pids["mcp-server"]
        used: list[float] = []

        async def our_round() -> tuple[float, list[float]]:
            before = cpu_seconds(pid)
            result = await _exchanges(ours, frame, 100)
            used.append((cpu_seconds(pid) - before) / (100 * CONNECTIONS))
            return result

        async def bare_round() -> tuple[float, list[float]]:
            return await _exchanges(bare, frame, 100)

        first, second = await alternate(our_round, bare_round, ROUNDS)
    return throughput(
        f"tools, {era}", first, second, f", {sorted(used)[len(used) // 2] * 1e6:,.0f} µs CPU a call"
    )


async def _initialize(socket: ClientConnection, era: str) -> None:
    params = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    await _exchange(socket, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}))
    await socket.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')


async def _call(
    socket: ClientConnection, name: str, arguments: dict[str, Any], envelope: dict[str, Any]
) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments, **envelope}
    answer: dict[str, Any] = json.loads(
        await _exchange(
            socket, json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})
        )
    )
    return answer


async def _exchange(socket: ClientConnection, frame: str) -> str:
    await socket.send(frame)
    answer = await socket.recv()
    assert isinstance(answer, str)
    assert '"error"' not in answer[:60], answer
    return answer


async def _exchanges(sockets: list[ClientConnection], frame: str, each: int) -> tuple[float, list[float]]:
    seconds: list[float] = []

    async def work(socket: ClientConnection) -> None:
        for _ in range(each):
            started = time.perf_counter()
            await socket.send(frame)
            await socket.recv()
            seconds.append(time.perf_counter() - started)

    begun = time.perf_counter()
    await asyncio.gather(*(work(socket) for socket in sockets))
    return len(sockets) * each / (time.perf_counter() - begun), seconds


async def search(world: World) -> list[Row]:
    """One question at a time, over HTTP and as SQL with the vector given."""
    await _fill_passages(world.suite.addresses["postgres"])
    question = "which deployment of the checkout service failed with a timeout?"
    body = json.dumps({"query": question}).encode()
    asked = request("/api/v1/search", {**world.suite.headers, "Content-Type": "application/json"}, body)
    vector = QueryVector(
        SPACE, await asyncio.to_thread(lambda: Model(default_folder()).vectors([question])[0])
    )
    wanted = SearchFilter(new_id(), any_owner=True)
    async with (
        connected(world.suite.addresses["rest"]) as connection,
        open_database(world.suite.addresses["postgres"], pool_size=2, application="bench") as database,
    ):

        async def over_http(number: int) -> None:
            assert await connection.send(asked) == 200

        async def as_sql(number: int) -> None:
            async with database.transaction(DEFAULT_TENANT_ID) as tx:
                assert await tx.passages.search(question, [vector], wanted, 10)

        await over_http(0), await as_sql(0)  # warm
        first, second = await alternate(
            lambda: timed_calls(100, over_http), lambda: timed_calls(100, as_sql), ROUNDS
        )
    return [latency(f"search, {PASSAGES:,} passages", first, second)]


async def _fill_passages(url: str) -> None:
    """Random unit vectors, and texts of a few words that questions share."""
    chance = random.Random(7)
    words = (
        "build",
        "deployment",
        "alert",
        "checkout",
        "billing",
        "node",
        "disk",
        "latency",
        "timeout",
        "failed",
        "main",
    )
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for start in range(0, PASSAGES, 500):
            rows = []
            for number in range(start, start + 500):
                values = [chance.gauss(0, 1) for _ in range(384)]
                length = sum(value * value for value in values) ** 0.5
                vector = "[" + ",".join(f"{value / length:.5f}" for value in values) + "]"
                text = " ".join(chance.choices(words, k=12)) + f" {number}"
                rows.append((str(DEFAULT_TENANT_ID), str(new_id()), str(new_id()), text, vector))
            await connection.cursor().executemany(
                """
                INSERT INTO passages (tenant_id, id, kind, source_id, part, title, text, uri, occurred_at, space, embedding)
                VALUES (%s, %s, 'event', %s, 0, 'event', %s, 'devops://events/x', now(), 'all-MiniLM-L6-v2/int8/384', %s::halfvec)
                """,
                rows,
            )
        await connection.commit()
        await connection.set_autocommit(True)
        await connection.execute("VACUUM ANALYZE passages")


async def notify(world: World) -> list[Row]:
    """From the first byte of the webhook to the agent's notification, beside the webhook's own answer."""
    uri = "devops://events/github/acme/shop"
    told, answered = Series(), Series()
    async with (
        connect(
            world.suite.addresses["mcp_ws"], additional_headers=world.suite.headers, compression=None
        ) as socket,
        connected(world.suite.addresses["rest"]) as connection,
    ):
        await _initialize(socket, "2025-11-25")
        await _exchange(
            socket,
            json.dumps({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": {"uri": uri}}),
        )
        requests, _ = deliveries(world, 150)
        for one in requests:
            begun = time.perf_counter()
            hearing = asyncio.create_task(socket.recv())
            assert await connection.send(one) == 202
            answered.seconds.append(time.perf_counter() - begun)
            await hearing
            told.seconds.append(time.perf_counter() - begun)
    return [latency("notify", told, answered)]


async def embedding(world: World) -> list[Row]:
    """The provider beside the model it wraps."""
    texts = [
        f"Build 'CI' failed on main of acme/shop (attempt {number}): cache exchange rates"
        for number in range(64)
    ]
    model = Model(default_folder())
    async with open_local(default_folder()) as provider:

        async def provided() -> tuple[float, list[float]]:
            rate, _ = await timed_calls(1, lambda _: _ignore(provider.embed(texts)))
            _, seconds = await timed_calls(
                30, lambda _: _ignore(provider.embed(["why did the build fail?"], Purpose.QUESTION))
            )
            return rate * len(texts), seconds

        async def direct() -> tuple[float, list[float]]:
            rate, _ = await timed_calls(1, lambda _: asyncio.sleep(0, model.vectors(texts)))
            _, seconds = await timed_calls(
                30, lambda _: asyncio.sleep(0, model.vectors(["why did the build fail?"]))
            )
            return rate * len(texts), seconds

        await provided()
        first, second = await alternate(provided, direct, ROUNDS)
    return [throughput("embedding, texts; questions", first, second)]


async def _ignore(work: Any) -> None:
    await work

"""Start, stop and exhaustion of a server process."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from devops_mcp.config import ServerSettings
from devops_mcp.embedded.ports import free_port
from devops_mcp.models.errors import ConfigurationError, Unavailable
from devops_mcp.observability.metrics import Metrics
from devops_mcp.serving.limits import Limits
from devops_mcp.serving.server import limits_for, listening, open_file_limit
from support.raw_http import PATIENCE_S, Site, site

PROGRAM = """
import sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import asyncio
from devops_mcp.config import ServerSettings
from devops_mcp.observability.health import Health
from devops_mcp.observability.logging import start_logging
from devops_mcp.observability.metrics import Metrics
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.server import run, serve
from devops_mcp.serving.surface import Surface

async def slow(request):
    print("slow begun", flush=True)
    await asyncio.sleep(0.5)
    return PlainTextResponse("finished")

start_logging("under-test")
metrics = Metrics()
settings = ServerSettings(port=int(sys.argv[1]), receive_timeout_s=float(sys.argv[2]), drain_timeout_s=5)
app = Surface(Starlette(routes=[*common_routes(Health(), metrics), Route("/slow", slow)]), settings, metrics)
run(lambda: serve(app, settings, count=metrics.connection_refused))
"""


@asynccontextmanager
async def server_process(
    log: Path, receive_timeout_s: float, shell_limit: str = ""
) -> AsyncIterator[tuple[Site, asyncio.subprocess.Process]]:
    port = free_port()
    command = f'{shell_limit} exec "{sys.executable}" -c "$PROGRAM" {port} {receive_timeout_s}'
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_shell(
            command, env={**os.environ, "PROGRAM": PROGRAM}, stdout=asyncio.subprocess.PIPE, stderr=out
        )
    server = Site(port, Metrics())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not log.read_bytes().count(b'"listening"'):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        yield server, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_exhausted_file_descriptors_are_survived_quietly(tmp_path: Path) -> None:
    """H02"""
    log = tmp_path / "log"
    # The receive deadline is long, so that on a slow machine too it is the newcomers that make room.
    async with server_process(log, 60.0, "ulimit -n 256;") as (server, process), AsyncExitStack() as stack:
        for _ in range(400):
            await stack.enter_async_context(server.connected())

        async with asyncio.timeout(PATIENCE_S):
            assert await server.is_live()
        assert process.returncode is None
        metrics = await server.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        crowded_out = re.search(rb'connections_refused_total\{reason="crowded_out"\} ([0-9.]+)', metrics)
        assert crowded_out is not None
        assert float(crowded_out[1]) >= 200
        assert len(log.read_bytes().splitlines()) < 10


async def test_sigterm_finishes_what_is_under_way_and_ends_with_success(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        server_process(log, 5.0) as (server, process),
        server.connected() as idle,
        server.connected() as busy,
    ):
        await idle.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await idle.until(b'{"status":"live"}')
        await busy.send(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert process.stdout is not None
        await process.stdout.readuntil(b"slow begun\n")
        process.send_signal(signal.SIGTERM)

        assert (await busy.rest()).endswith(b"finished")
        assert await idle.rest() == b""
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        assert b'"stopped"' in log.read_bytes()


async def test_what_does_not_end_within_the_drain_time_is_cancelled() -> None:
    ended = asyncio.Event()
    entered = asyncio.Event()

    async def endless(request: Request) -> Response:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return PlainTextResponse("never")

    async with AsyncExitStack() as clients:
        async with site([Route("/endless", endless)], drain_timeout_s=0.2) as server:
            peer = await clients.enter_async_context(server.connected())
            await peer.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.wait_for(entered.wait(), PATIENCE_S)

        await asyncio.wait_for(ended.wait(), PATIENCE_S)


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {port}"):
            async with listening(Starlette(), ServerSettings(port=port)):
                pass


async def test_an_application_that_cannot_start_is_an_error_not_an_exit() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    with pytest.raises(Unavailable):
        async with listening(Starlette(lifespan=lifespan), ServerSettings(port=0)):
            pass


def test_the_settings_and_the_process_bound_the_limits() -> None:
    limits = limits_for(
        ServerSettings(port=0, receive_timeout_s=2.5), Limits(connections=10**9, spare_files=60)
    )

    assert limits.receive_timeout_s == 2.5
    assert limits.connections == open_file_limit() - 60

"""Runs against the real program of the installed wheel."""

import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.process import Child
from devops_mcp.embedded.redis import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path / "a folder", free_port(), "secret", tmp_path / "redis.log")


@asynccontextmanager
async def running(server: RedisServer) -> AsyncIterator[Child]:
    child = await Child.start(server.program())
    try:
        await child.wait_ready()
        yield child
    finally:
        await child.stop()


async def test_it_serves_scripts_and_expiring_keys(server):
    async with running(server), Redis.from_url(server.url) as client:
        await client.set("lock", "mine", nx=True, px=60_000)
        released = await client.eval(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
            1,
            "lock",
            "mine",
        )

        assert released == 1
        assert await client.get("lock") is None


async def test_without_the_password_nothing_is_served(server):
    async with (
        running(server),
        Redis(host=LOOPBACK, port=server.port, protocol=2, retry=Retry(NoBackoff(), 0)) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.get("anything")


async def test_what_was_written_survives_an_orderly_stop_and_kill_9(server):
    async with running(server) as child, Redis.from_url(server.url) as client:
        await client.set("first", "kept")
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    async with running(server), Redis.from_url(server.url) as client:
        await client.set("second", "kept")
    async with running(server), Redis.from_url(server.url) as client:
        assert await client.mget("first", "second") == [b"kept", b"kept"]


async def test_the_password_is_in_no_argument_and_in_no_file_that_others_read(server):
    async with running(server) as child:
        arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes()

    assert b"secret" not in arguments
    assert stat.S_IMODE((server.data / "redis.conf").stat().st_mode) == 0o600

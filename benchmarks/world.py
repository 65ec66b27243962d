"""The suite under test, the bare server beside it, and raw HTTP connections to both."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from devops_mcp.embedded.roles import REST
from devops_mcp.embedded.servers import Servers
from devops_mcp.embedded.state import load_secrets
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.pages import NEWEST
from devops_mcp.repositories.context_appends import APPEND
from devops_mcp.repositories.contexts import FIND, page_statement

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from support.suite import Suite, running_suite  # noqa: E402


@dataclass(frozen=True)
class World:
    """A running suite and, over the same database, the bare server."""

    suite: Suite
    bare: str
    started_s: float

    @property
    def servers(self) -> Servers:
        """Where the suite's servers are, for each of the roles that its services have."""
        addresses = self.suite.addresses
        port = urlsplit(addresses["postgres"]).port
        assert port is not None
        return Servers(port, addresses["redis"], addresses["sqs"], load_secrets(self.suite.state))


@contextmanager
def world(**environment: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - the database's own user must reach it
        begun = time.monotonic()
        with running_suite(Path(folder) / "state", environment) as suite:
            started = time.monotonic() - begun
            with bare_server(suite.addresses["postgres"]) as bare:
                yield World(suite, bare, started)


@contextmanager
def bare_server(database_url: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, **_bare_environment(database_url)}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", str(port)], cwd=ROOT, env=environment
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _bare_environment(database_url: str) -> dict[str, str]:
    """The statements are handed over, so that they are ours and what they are made by is not in the bare server's memory."""
    statements = {"read": FIND, "list": page_statement(NEWEST.field, NEWEST.descending), "append": APPEND}
    return {
        "BARE_DATABASE_URL": database_url,
        "BARE_STATEMENTS": json.dumps(statements),
        "BARE_SERVICE_OPTIONS": f"-c role={REST} -c app.tenant={DEFAULT_TENANT_ID}",
    }


async def at_rest(suite: World) -> None:
    """Until the outbox is empty: what an earlier part has left there would be published to whoever relays next."""
    async with await psycopg.AsyncConnection.connect(
        suite.suite.addresses["postgres"], autocommit=True
    ) as connection:
        while await (await connection.execute("SELECT FROM outbox WHERE due_at <= now() LIMIT 1")).fetchone():
            await asyncio.sleep(0.1)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


class Connection:
    """A kept-alive HTTP/1.1 connection that sends requests made beforehand, so that the generator is not what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, request: bytes) -> int:
        """The status of the answer, whose body is read and dropped."""
        head, _ = await self._exchange(request)
        return int(head[9:12])

    async def body(self, request: bytes) -> bytes:
        """The body of the answer."""
        return (await self._exchange(request))[1]

    async def header(self, request: bytes, name: str) -> str:
        """One header of the answer."""
        head, _ = await self._exchange(request)
        return head.lower().partition(f"{name}:".encode())[2].partition(b"\r\n")[0].strip().decode()

    async def _exchange(self, request: bytes) -> tuple[bytes, bytes]:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        return head, await self._reader.readexactly(int(length))


@asynccontextmanager
async def connected(base_url: str) -> AsyncIterator[Connection]:
    host, _, port = base_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def request(
    path: str, headers: dict[str, str], body: bytes, *, host: str = "localhost", method: str = "POST"
) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        f"Content-Length: {len(body)}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def spread(
    base_url: str, requests: list[bytes], connections: int, expect: int
) -> tuple[float, list[float]]:
    """Send the requests over several connections, each with one under way; requests a second, and the seconds of each."""
    waiting = iter(requests)
    seconds: list[float] = []

    async def work() -> None:
        async with connected(base_url) as connection:
            for one in waiting:
                started = time.perf_counter()
                status = await connection.send(one)
                assert status == expect, status
                seconds.append(time.perf_counter() - started)

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return len(requests) / (time.perf_counter() - begun), seconds

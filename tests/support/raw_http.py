"""Raw sockets against the hardened server, for requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from devops_mcp.config import ServerSettings
from devops_mcp.observability.health import Check, Health
from devops_mcp.observability.metrics import Metrics
from devops_mcp.serving import problems
from devops_mcp.serving.limits import BodyLimits, Limits
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.server import listening
from devops_mcp.serving.surface import Surface

PATIENCE_S = 60.0
"""How long a test waits for what must happen; nothing takes this long when all is well."""


@dataclass
class Peer:
    """One client connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(mark)

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the server ends the connection, however it does."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while chunk := await self.reader.read(65_536):
                    received += chunk
            except ConnectionError:
                pass
        return received


@dataclass
class Site:
    """A server under test."""

    port: int
    metrics: Metrics
    refused: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    async def ask(self, request: bytes) -> bytes:
        """The whole answer to one request, until the server closes."""
        async with self.connected() as peer:
            peer.writer.write(request)
            return await peer.rest()

    async def status_of(self, request: bytes) -> int:
        answer = await self.ask(request)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0

    async def is_live(self) -> bool:
        return (
            await self.status_of(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            == 200
        )


@asynccontextmanager
async def site(
    routes: Sequence[BaseRoute] = (),
    limits: Limits | None = None,
    body_limits: BodyLimits | None = None,
    checks: Sequence[Check] = (),
    *,
    receive_timeout_s: float = 5.0,
    drain_timeout_s: float = 5.0,
    allowed_origins: tuple[str, ...] = (),
) -> AsyncIterator[Site]:
    """Serve `routes` and the common ones on a free port while the block runs."""
    settings = ServerSettings(
        port=0,
        receive_timeout_s=receive_timeout_s,
        drain_timeout_s=drain_timeout_s,
        allowed_origins=allowed_origins,
    )
    metrics = Metrics()
    refused: list[str] = []
    app = Starlette(
        routes=[*common_routes(Health(checks), metrics), *routes],
        exception_handlers=problems.exception_handlers(),
    )
    surface = Surface(app, settings, metrics, body_limits)
    async with listening(surface, settings, limits=limits, count=refused.append) as port:
        yield Site(port, metrics, refused)

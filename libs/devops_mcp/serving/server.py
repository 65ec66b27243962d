"""Runs an ASGI application behind the hardened protocols. uvicorn is configured here and nowhere else."""

import asyncio
import contextlib
import functools
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from devops_mcp.config import ServerSettings
from devops_mcp.models.errors import ConfigurationError, Unavailable
from devops_mcp.serving.gate import Gate
from devops_mcp.serving.http_protocol import HardenedHttp
from devops_mcp.serving.limits import Limits
from devops_mcp.serving.websocket_protocol import HardenedWebSocket

log = structlog.get_logger()

Result = TypeVar("Result")
_MAX_OPEN_FILES = 65_536
HUNG_UP_S = 0.01
"""For those who hung up just now to be seen to be gone."""
TICK_S = 0.1
"""uvicorn's own."""


async def serve(
    app: ASGIApp,
    settings: ServerSettings,
    *,
    stop: asyncio.Event | None = None,
    limits: Limits | None = None,
    count: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; then accept nothing, finish what is under way within `drain_timeout_s`, and return.

    The signals set `stop`, so that streams which would never end by themselves can watch it. `count` hears the reason of each
    connection that was refused or cut: `Metrics.connection_refused`.
    """
    ending = stop if stop is not None else asyncio.Event()
    with _signals_set(ending):
        async with listening(app, settings, limits=limits, count=count) as port:
            log.info("listening", host=settings.host, port=port)
            await ending.wait()
            log.info("draining", drain_timeout_s=settings.drain_timeout_s)
    log.info("stopped")


@asynccontextmanager
async def listening(
    app: ASGIApp,
    settings: ServerSettings,
    *,
    limits: Limits | None = None,
    count: Callable[[str], None] | None = None,
) -> AsyncIterator[int]:
    """Serve while the block runs, and give it the port; drains at the end.

    Raises `ConfigurationError` when the address cannot be had, `Unavailable` when the application's own start failed.
    """
    limits = limits_for(settings, limits or Limits())
    gate = Gate(asyncio.get_running_loop(), limits, count or _count_nothing)
    with _bound(settings, limits.backlog) as listener:
        server = _Server(_configured(app, settings, limits, gate))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
        try:
            await server.until_started(serving)
            yield listener.getsockname()[1]
        finally:
            server.end()
            await serving
            gate.close()


def limits_for(settings: ServerSettings, limits: Limits) -> Limits:
    """The limits with what the settings and this process's file descriptors say."""
    connections = min(limits.connections, max(open_file_limit() - limits.spare_files, 1))
    return replace(limits, receive_timeout_s=settings.receive_timeout_s, connections=connections)


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a service's `main` on uvloop, where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _configured(app: ASGIApp, settings: ServerSettings, limits: Limits, gate: Gate) -> uvicorn.Config:
    http = functools.partial(HardenedHttp, gate=gate)
    websocket = functools.partial(HardenedWebSocket, gate=gate)
    return uvicorn.Config(
        cast("Any", app),
        # uvicorn only ever calls these two.
        http=cast("type[asyncio.Protocol]", http),
        ws=cast("type[asyncio.Protocol]", websocket),
        interface="asgi3",
        ws_max_size=limits.websocket_message_bytes,
        ws_ping_interval=limits.websocket_ping_s,
        ws_ping_timeout=limits.websocket_ping_s,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        backlog=limits.backlog,
        timeout_graceful_shutdown=cast(
            "int", settings.drain_timeout_s
        ),  # goes to asyncio.wait_for, which takes fractions
        # A pipelined request is started from the task of the one before it, and would inherit its trace and log ids.
        reset_contextvars=True,
    )


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling and its way of leaving the process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._up = asyncio.Event()
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Drain, from now on and not from uvicorn's next tick."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, without its pause where nobody is connected."""
        if self.server_state.connections:
            await asyncio.sleep(HUNG_UP_S)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for listening_socket in (*self.servers, *(sockets or ())):
            listening_socket.close()
        await self.lifespan.shutdown()

    async def until_started(self, serving: asyncio.Task[None]) -> None:
        up = asyncio.create_task(self._up.wait(), name="wait for start")
        try:
            await asyncio.wait({serving, up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up.cancel()
        if serving.done():
            serving.result()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise Unavailable("the application did not start; the log before this says why") from None
        self._up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.contextmanager
def _signals_set(event: asyncio.Event) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    handled: Sequence[signal.Signals] = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGINT)
    for number in handled:
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _bound(settings: ServerSettings, backlog: int) -> Generator[socket.socket, None, None]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=backlog)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}"
        ) from None
    with listener:
        # Inherited by accepted sockets on Linux; asyncio's own loop sets it only on those it connects.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setblocking(False)
        yield listener


def open_file_limit() -> int:
    """How many file descriptors this process may have."""
    if sys.platform == "win32":
        return _MAX_OPEN_FILES
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Take as many file descriptors as this process is allowed: the usual 1,024 are fewer than the clients we serve."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _count_nothing(reason: str) -> None:
    """For servers that nobody measures."""

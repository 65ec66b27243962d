"""A worker of its own process, for tests that end it the hard way."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.probes import answers_ok
from support.forks import how_it_ended, shared_forks

_READY_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.02


class WorkerProcess:
    """A running `worker`, or the other service that a subclass stands for."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.pid = pid
        self.port = port
        self.lines: list[bytes] = []
        """What it logged, once it has ended."""
        self._log = log

    async def ready(self) -> None:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await answers_ok(self.port, "/health/ready"):
                assert how_it_ended(self.pid, self._log) is None, self._log.read_text()
                await asyncio.sleep(_LOOK_EVERY_S)

    def send(self, number: signal.Signals) -> None:
        """Send a signal without waiting for an end."""
        if how_it_ended(self.pid, self._log) is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code, negative for a signal."""
        self.send(number)
        while (code := how_it_ended(self.pid, self._log)) is None:
            await asyncio.sleep(_LOOK_EVERY_S)
        self.lines = self._log.read_bytes().splitlines()
        return code


P = TypeVar("P", bound=WorkerProcess)


@asynccontextmanager
async def a_worker(settings: Mapping[str, str]) -> AsyncIterator[WorkerProcess]:
    """A worker that is ready, with these settings; killed at the end if it still runs."""
    async with started(WorkerProcess, "worker", "WORKER", settings) as worker:
        yield worker


@asynccontextmanager
async def started(
    kind: type[P], module: str, section: str, settings: Mapping[str, str], port: int = 0
) -> AsyncIterator[P]:
    port = choose_ports({module: port})[module]
    environment = {f"DEVOPS_MCP_{name}": value for name, value in settings.items()}
    environment |= {f"DEVOPS_MCP_{section}__HOST": LOOPBACK, f"DEVOPS_MCP_{section}__PORT": str(port)}
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        forks = await asyncio.to_thread(shared_forks)
        process = kind(await asyncio.to_thread(forks.start, module, environment, log), port, log)
        try:
            await process.ready()
            yield process
        finally:
            await process.end(signal.SIGKILL)

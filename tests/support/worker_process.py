"""A worker of its own process, for tests that end it the hard way."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.probes import answers_ok

_READY_WITHIN_S = 120.0


class WorkerProcess:
    """`python -m worker`. Its log lines are in `lines` once it has ended."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port
        self.lines: list[bytes] = []
        assert process.stderr is not None
        self._reading = asyncio.create_task(self._read(process.stderr))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> None:
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await answers_ok(self.port, "/health/ready"):
                assert self._process.returncode is None, b"".join(self.lines).decode()
                await asyncio.sleep(0.05)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code, negative for a signal."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        code = await self._process.wait()
        await self._reading
        return code

    async def _read(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            self.lines.append(line)


@asynccontextmanager
async def a_worker(settings: Mapping[str, str]) -> AsyncIterator[WorkerProcess]:
    """A worker that is ready, with these settings; killed at the end if it still runs."""
    port = choose_ports({"worker": 0})["worker"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEVOPS_MCP_")}
    environment |= {f"DEVOPS_MCP_{name}": value for name, value in settings.items()}
    environment |= {"DEVOPS_MCP_WORKER__HOST": LOOPBACK, "DEVOPS_MCP_WORKER__PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "worker", env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=PIPE
    )
    worker = WorkerProcess(process, port)
    try:
        await worker.ready()
        yield worker
    finally:
        await worker.end(signal.SIGKILL)

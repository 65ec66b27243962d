"""Services as processes that are killed, stopped, woken and started again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from devops_mcp.embedded.probes import answers_ok
from support.forks import Forks

_READY_WITHIN_S = 60.0


@asynccontextmanager
async def a_zygote(*, quick: bool) -> AsyncIterator[Forks]:
    forks = await asyncio.to_thread(Forks, quick=quick)
    try:
        yield forks
    finally:
        await asyncio.to_thread(forks.close)


class Service:
    """One service on a port of its own, which it keeps when it is started again."""

    def __init__(
        self, zygote: Forks, name: str, module: str, port: int, environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.port = port
        self.log = log
        self.pid = 0
        self.starts = 0
        self._zygote = zygote
        self._module = module
        self._environment = environment

    async def start(self) -> None:
        """Start it, and return once it says that it lives; it need not be ready."""
        self.pid = await asyncio.to_thread(self._zygote.start, self._module, self._environment, self.log)
        self.starts += 1
        async with asyncio.timeout(_READY_WITHIN_S):
            while not await answers_ok(self.port, "/health/live"):
                assert self.alive, f"{self.name} ended: {self.log.read_text()[-3_000:]}"
                await asyncio.sleep(0.02)

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        await self._gone()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    async def _gone(self) -> None:
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

"""Services as processes that are killed, stopped, woken and started again."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from devops_mcp.embedded.probes import answers_ok

_ZYGOTE = Path(__file__).with_name("zygote.py")
_READY_WITHIN_S = 60.0


class Zygote:
    """Forks services. Open with `a_zygote`; its children end with it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()

    async def fork(self, module: str, environment: Mapping[str, str], log: Path) -> int:
        told = {"module": module, "environment": dict(environment), "log": str(log)}
        async with self._asking:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            return int((await self.heard())["pid"])

    async def heard(self) -> dict[str, int]:
        assert self._process.stdout is not None
        async with asyncio.timeout(_READY_WITHIN_S):
            line = await self._process.stdout.readline()
        assert line, "the zygote ended"
        return dict(json.loads(line))


@asynccontextmanager
async def a_zygote(*, quick: bool) -> AsyncIterator[Zygote]:
    command = [sys.executable, str(_ZYGOTE), *(["--quick"] if quick else [])]
    path = os.pathsep.join([str(_ZYGOTE.parents[1]), os.environ.get("PYTHONPATH", "")])
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        zygote = Zygote(process)
        await zygote.heard()
        yield zygote
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


class Service:
    """One service on a port of its own, which it keeps when it is started again."""

    def __init__(
        self, zygote: Zygote, name: str, module: str, port: int, environment: Mapping[str, str], log: Path
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
        self.pid = await self._zygote.fork(self._module, self._environment, self.log)
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

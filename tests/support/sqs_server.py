"""Our queue server as a process of its own, for the tests that are about it."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from devops_mcp.embedded.ports import LOOPBACK, free_port
from devops_mcp.embedded.probes import answers_ok

_WITHIN_S = 60.0


class SqsServer:
    """Starts at `start`; the same folder may be served again after `stop` or `kill`."""

    def __init__(self, data: Path, *, durability: str = "process") -> None:
        self.data = data
        self.durability = durability
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        command = [sys.executable, "-m", "devops_mcp.embedded.sqs", "--port", str(self.port)]
        command += ["--data", str(self.data), "--durability", self.durability]
        self.process = subprocess.Popen(command)
        async with asyncio.timeout(_WITHIN_S):
            while not await answers_ok(self.port, "/health"):
                assert self.process.poll() is None, f"the queue server ended with {self.process.returncode}"
                await asyncio.sleep(0.02)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(_WITHIN_S)

"""An mcp-server of its own process, for tests that end it the hard way."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from support.worker_process import WorkerProcess


class McpProcess(WorkerProcess):
    """`python -m mcp_server`."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal without waiting for an end."""
        self._process.send_signal(number)


@asynccontextmanager
async def an_mcp_server(settings: Mapping[str, str]) -> AsyncIterator[McpProcess]:
    """An mcp-server that is ready, with these settings; killed at the end if it still runs."""
    port = choose_ports({"mcp": 0})["mcp"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DEVOPS_MCP_")}
    environment |= {f"DEVOPS_MCP_{name}": value for name, value in settings.items()}
    environment |= {"DEVOPS_MCP_MCP__HOST": LOOPBACK, "DEVOPS_MCP_MCP__PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_server", env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=PIPE
    )
    server = McpProcess(process, port)
    try:
        await server.ready()
        yield server
    finally:
        await server.end(signal.SIGKILL)

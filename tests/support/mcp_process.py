"""An mcp-server of its own process, for tests that end it the hard way."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from devops_mcp.embedded.ports import LOOPBACK
from support.worker_process import WorkerProcess, started


class McpProcess(WorkerProcess):
    """A running `mcp_server`."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


@asynccontextmanager
async def an_mcp_server(settings: Mapping[str, str], port: int = 0) -> AsyncIterator[McpProcess]:
    """An mcp-server that is ready, with these settings, at a free port unless one is named; killed at the end if it still runs."""
    async with started(McpProcess, "mcp_server", "MCP", settings, port) as server:
        yield server

"""A rest-api of its own process, for tests that end it the hard way."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from devops_mcp.embedded.ports import LOOPBACK
from support.worker_process import WorkerProcess, started


class RestProcess(WorkerProcess):
    """A running `rest_api`."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


@asynccontextmanager
async def a_rest_api(settings: Mapping[str, str]) -> AsyncIterator[RestProcess]:
    """A rest-api that is ready, with these settings, at a free port; killed at the end if it still runs."""
    async with started(RestProcess, "rest_api", "REST", settings) as server:
        yield server

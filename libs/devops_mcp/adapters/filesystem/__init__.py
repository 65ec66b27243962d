"""Files beneath folders that the operator names, read and changed by agents; nothing else of the machine.

The wall is openat2(2), https://man7.org/linux/man-pages/man2/openat2.2.html, since Linux 5.6; elsewhere a walk with O_NOFOLLOW.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Adapter, Outside
from devops_mcp.adapters.filesystem.client import Filesystem, Sandbox
from devops_mcp.adapters.filesystem.config import FilesystemSettings
from devops_mcp.adapters.filesystem.tools import TOOLS


@asynccontextmanager
async def connect(settings: FilesystemSettings, outside: Outside) -> AsyncIterator[Filesystem]:
    """A client of these roots. Nothing is opened until a tool is called."""
    yield Filesystem(Sandbox(settings))


async def ping(client: Filesystem) -> None:
    """Open every root; raises an error that names the one that cannot be opened."""
    await client.run(lambda sandbox, budget: sandbox.check_roots())


ADAPTER: Adapter[Filesystem, FilesystemSettings] = Adapter(
    name="fs",
    title="Filesystem",
    settings=FilesystemSettings,
    connect=connect,
    ping=ping,
    tools=TOOLS,
    on_this_machine=True,
)

"""What the protocol's conformance suite expects a server to offer, as an adapter of its own, loaded through the public entry point.

The names are the suite's. Nothing here reaches into the server: what cannot be said with the adapters' values, an adapter cannot do.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from conformance_fixtures.prompts import PROMPTS
from conformance_fixtures.resources import RESOURCES
from conformance_fixtures.tools import TOOLS
from conformance_fixtures.tools_asking import ASKING_TOOLS
from conformance_fixtures.tools_long import LONG_TOOLS
from devops_mcp.adapters.base import Adapter, NoSettings, Outside


@asynccontextmanager
async def connect(settings: NoSettings, outside: Outside) -> AsyncIterator[Outside]:
    """The client is what the adapter is given of the world."""
    yield outside


async def ping(client: Outside) -> str | None:
    return None


ADAPTER = Adapter(
    name="conformance",
    title="Conformance fixtures",
    settings=NoSettings,
    connect=connect,
    ping=ping,
    tools=(*TOOLS, *ASKING_TOOLS, *LONG_TOOLS),
    prompts=PROMPTS,
    resources=RESOURCES,
    any_tool_name=True,
)

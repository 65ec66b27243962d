"""GitHub: REST API 2022-11-28, https://docs.github.com/rest, and webhooks, https://docs.github.com/webhooks

Where webhooks cannot reach us, the pollers `workflow_runs` and `events` look instead.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Adapter, Outside
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.config import GitHubSettings
from devops_mcp.adapters.github.pollers import POLLERS
from devops_mcp.adapters.github.tools import TOOLS
from devops_mcp.adapters.github.webhooks import WEBHOOKS


@asynccontextmanager
async def connect(settings: GitHubSettings, outside: Outside) -> AsyncIterator[GitHub]:
    """The client of one integration."""
    github = GitHub(settings, outside)
    try:
        yield github
    finally:
        await github.close()


async def ping(github: GitHub) -> str | None:
    """Ask for the rate limit, which costs none of it; an Enterprise server tells its version."""
    reply = await github.get("/rate_limit")
    return reply.headers.get("x-github-enterprise-version")


ADAPTER = Adapter(
    name="github",
    title="GitHub",
    settings=GitHubSettings,
    connect=connect,
    ping=ping,
    tools=TOOLS,
    webhooks=WEBHOOKS,
    pollers=POLLERS,
)

"""Calling GitHub's tools in tests, as the operation layer does: arguments are validated, results come back as JSON."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from devops_mcp.adapters.base import Outside, WriteParams
from devops_mcp.adapters.github import ADAPTER
from devops_mcp.adapters.github.client import GitHub
from devops_mcp.adapters.github.config import GitHubSettings
from devops_mcp.models.base import Clock, utc_now
from support.servers import LOOPBACK
from support.upstreams import ONCE, quick

TOOLS = {tool.name: tool for tool in ADAPTER.tools}


@dataclass(frozen=True)
class Tools:
    """The tools of one integration."""

    github: GitHub

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        spec = TOOLS[f"github_{tool}"]
        result = await spec.run(self.github, spec.params.model_validate(arguments))
        assert isinstance(result, spec.result)
        shown: dict[str, Any] = result.model_dump(mode="json", exclude_none=True)
        # What was shown is read back from a cache under our own names.
        assert (
            spec.result.model_validate(result.model_dump()).model_dump(mode="json", exclude_none=True)
            == shown
        )
        return shown


@asynccontextmanager
async def connected(
    address: str, token: str, *, now: Clock = utc_now, **settings: Any
) -> AsyncIterator[Tools]:
    """The tools, on a GitHub of the test; requests are sent once."""
    options = {"base_url": address, "token": SecretStr(token), "default_repo": "acme/shop"} | settings
    outside = Outside(private_networks=LOOPBACK, now=now, policies=quick("github", retry=ONCE))
    async with ADAPTER.connect(GitHubSettings(**options), outside) as github:
        yield Tools(github)


def writes() -> list[str]:
    """The tools that change something."""
    return [
        name.removeprefix("github_") for name, tool in TOOLS.items() if issubclass(tool.params, WriteParams)
    ]

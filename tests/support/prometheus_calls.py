"""Connections to a Prometheus of the test, and its tools as a reader meets them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.prometheus import ADAPTER
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.config import PrometheusSettings
from support.servers import LOOPBACK, serve
from support.upstreams import ONCE, quick

NOW = datetime.fromtimestamp(1_795_214_060, UTC)


@asynccontextmanager
async def connected(app: Any, **options: Any) -> AsyncIterator[Prometheus]:
    async with serve(app) as url:
        settings = PrometheusSettings(base_url=url, **options)
        outside = Outside(private_networks=LOOPBACK, now=lambda: NOW, policies=quick(retry=ONCE))
        async with ADAPTER.connect(settings, outside) as client:
            yield client


async def call(client: Prometheus, tool_name: str, /, **arguments: Any) -> Any:
    """The tool's result as a reader gets it."""
    tool = next(tool for tool in ADAPTER.tools if tool.name == f"prometheus_{tool_name}")
    result = await tool.run(client, tool.params(**arguments))
    return result.model_dump(mode="json", exclude_none=True)

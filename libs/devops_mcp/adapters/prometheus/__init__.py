"""Prometheus' HTTP API v1, https://prometheus.io/docs/prometheus/latest/querying/api/, tried against 2.42.

Its alerts reach us as webhooks through Alertmanager, which is a system of its own; where there is none, by the poller `alerts`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Adapter, Outside
from devops_mcp.adapters.prometheus.client import Prometheus
from devops_mcp.adapters.prometheus.config import PrometheusSettings
from devops_mcp.adapters.prometheus.pollers import POLLERS
from devops_mcp.adapters.prometheus.tools import TOOLS


@asynccontextmanager
async def connect(settings: PrometheusSettings, outside: Outside) -> AsyncIterator[Prometheus]:
    """A client of one server. Nothing is sent until a tool is called."""
    client = Prometheus(settings, outside)
    try:
        yield client
    finally:
        await client.close()


async def ping(client: Prometheus) -> str | None:
    """The server's version."""
    return await client.version()


ADAPTER: Adapter[Prometheus, PrometheusSettings] = Adapter(
    name="prometheus",
    title="Prometheus",
    settings=PrometheusSettings,
    connect=connect,
    ping=ping,
    tools=TOOLS,
    pollers=POLLERS,
)

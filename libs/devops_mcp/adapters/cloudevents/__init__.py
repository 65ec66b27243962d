"""Whoever sends CloudEvents 1.0 over HTTP: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devops_mcp.adapters.base import Adapter, Outside
from devops_mcp.adapters.cloudevents.config import CloudEventsSettings
from devops_mcp.adapters.cloudevents.webhooks import WEBHOOKS


@asynccontextmanager
async def connect(settings: CloudEventsSettings, outside: Outside) -> AsyncIterator[CloudEventsSettings]:
    """Nothing is called: what a handshake needs to know is in the settings."""
    yield settings


ADAPTER = Adapter(
    name="cloudevents",
    title="CloudEvents",
    settings=CloudEventsSettings,
    connect=connect,
    ping=None,
    webhooks=WEBHOOKS,
)

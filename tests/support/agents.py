"""Agents as they connect to mcp-server: the protocol's own Python client over HTTP and over WebSocket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from devops_mcp.cli.websocket import websocket_streams

HANDSHAKE = "legacy"
STATELESS = "2026-07-28"
ERAS = (HANDSHAKE, STATELESS)
TRANSPORTS = ("ws", "http")


@asynccontextmanager
async def agent(
    transport: str, base_url: str, key: str, era: str, *, view: str = "", **options: Any
) -> AsyncIterator[Client]:
    """A connected client; `base_url` is `http://host:port`, `transport` one of TRANSPORTS, `era` one of ERAS; `view` is what follows in the
    address, as `/x/all`."""
    headers = {"Authorization": f"Bearer {key}"}
    if transport == "ws":
        address = base_url.replace("http", "ws", 1) + f"/ws{view}"
        async with Client(websocket_streams(address, headers), mode=era, **options) as client:
            yield client
        return
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        streams = streamable_http_client(f"{base_url}/mcp{view}", http_client=http)
        async with Client(streams, mode=era, **options) as client:
            yield client

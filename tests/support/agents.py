"""Agents as they connect to mcp-server: the protocol's own Python client over HTTP, and over a WebSocket transport written for it here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from websockets.asyncio.client import connect

HANDSHAKE = "legacy"
STATELESS = "2026-07-28"
ERAS = (HANDSHAKE, STATELESS)
TRANSPORTS = ("ws", "http")


@asynccontextmanager
async def agent(transport: str, base_url: str, key: str, era: str, **options: Any) -> AsyncIterator[Client]:
    """A connected client; `base_url` is `http://host:port`, `transport` one of TRANSPORTS, `era` one of ERAS."""
    headers = {"Authorization": f"Bearer {key}"}
    if transport == "ws":
        address = base_url.replace("http", "ws", 1) + "/ws"
        async with Client(websocket_client(address, headers), mode=era, **options) as client:
            yield client
        return
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        streams = streamable_http_client(f"{base_url}/mcp", http_client=http)
        async with Client(streams, mode=era, **options) as client:
            yield client


@asynccontextmanager
async def websocket_client(url: str, headers: dict[str, str]) -> AsyncIterator[Any]:
    """The two streams the protocol's client speaks over: one JSON-RPC message a text frame, subprotocol `mcp`."""
    to_client, inbound = anyio.create_memory_object_stream[SessionMessage | Exception](16)
    outbound, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with connect(url, additional_headers=headers, subprotocols=["mcp"], compression=None) as socket:

        async def read() -> None:
            async with to_client:
                async for frame in socket:
                    message = types.jsonrpc_message_adapter.validate_json(frame, by_name=False)
                    await to_client.send(SessionMessage(message))

        async def write() -> None:
            async with from_client:
                async for message in from_client:
                    await socket.send(message.message.model_dump_json(by_alias=True, exclude_unset=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            yield inbound, outbound
            tasks.cancel_scope.cancel()

"""The client's end of the protocol over WebSocket: the two streams that the SDK's client speaks over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

SUBPROTOCOL = Subprotocol("mcp")
MAX_MESSAGE_BYTES = 16 * 1_048_576

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@asynccontextmanager
async def websocket_streams(url: str, headers: dict[str, str]) -> AsyncIterator[Streams]:
    """Connect, one JSON-RPC message a text frame; give the result to `mcp.Client`. The streams end when the server closes."""
    to_client, inbound = anyio.create_memory_object_stream[SessionMessage | Exception](16)
    outbound, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with connect(
        url,
        additional_headers=headers,
        subprotocols=[SUBPROTOCOL],
        compression=None,
        max_size=MAX_MESSAGE_BYTES,
    ) as socket:

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

"""A proxy that adds a credential to every request, for clients that cannot send one. It changes nothing else and buffers nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_HEAD = 65_536


@asynccontextmanager
async def authorizing_proxy(port: int, key: str) -> AsyncIterator[int]:
    """Forward to `127.0.0.1:port` with `key`; yields the proxy's port. Each connection carries one request."""
    added = f"\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode()

    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
            upstream_writer.write(b"\r\n".join(lines) + added)
            sending = asyncio.create_task(_copy(reader, upstream_writer))
            try:
                await _copy(upstream_reader, writer)
            finally:
                sending.cancel()
                upstream_writer.close()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_HEAD)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in list(serving):
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(_HEAD):
            writer.write(data)
            await writer.drain()

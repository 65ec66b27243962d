"""Asking a program whether it is ready, cheaply enough to ask fifty times a second."""

import asyncio

from devops_mcp.embedded.ports import LOOPBACK

_ANSWER_WITHIN_S = 5.0
"""Longer than a service's readiness may take, which waits a second for systems it can do without."""


async def answers_ok(port: int, path: str) -> bool:
    """Whether `GET path` on a local port is answered 200 in time."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            return (await _status_line(port, path)).split(b" ")[1:2] == [b"200"]
    except (OSError, TimeoutError, ValueError):
        return False


async def _status_line(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
        return await reader.readline()
    finally:
        writer.close()

"""Every way to mcp-server, message by message: a text goes in, the server's answer to it comes out."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import httpx2
from websockets.asyncio.client import connect

from support.handshake import BOTH, REVISIONS, events_of, messages_of

STATELESS = "2026-07-28"
ALL_REVISIONS = (*REVISIONS, STATELESS)
TRANSPORTS = ("ws", "http-json", "http-sse", "sse", "stdio")

Ask: TypeAlias = Callable[[str], Awaitable[dict[str, Any] | None]]
"""Sends a text; gives what answers it, None for a notification."""

_ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}


def serves(transport: str, revision: str) -> bool:
    """HTTP+SSE is of the handshake era alone."""
    return transport != "sse" or revision != STATELESS


def opening(revision: str) -> dict[str, Any]:
    """The request that a client of the revision begins with."""
    if revision == STATELESS:
        return asking(revision, "server/discover")
    client = {"name": "t", "version": "1"}
    return asking(revision, "initialize", protocolVersion=revision, capabilities={}, clientInfo=client)


def asking(revision: str, method: str, **params: Any) -> dict[str, Any]:
    """A request as the revision has it; without an id, which the exchange gives it."""
    envelope = {"_meta": _ENVELOPE} if revision == STATELESS else {}
    return {"jsonrpc": "2.0", "method": method, "params": params | envelope}


@asynccontextmanager
async def channel(transport: str, url: str, key: str, revision: str) -> AsyncIterator[Ask]:
    """One way to the server at `url`."""
    async with _CHANNELS[transport](url, key, revision) as ask:
        yield ask


@asynccontextmanager
async def _ws(url: str, key: str, _: str) -> AsyncIterator[Ask]:
    address = url.replace("http", "ws", 1) + "/ws/x/all"
    async with connect(address, additional_headers={"X-API-Key": key}) as socket:

        async def ask(text: str) -> dict[str, Any] | None:
            await socket.send(text)
            return await _answer(text, socket.recv)

        yield ask


@asynccontextmanager
async def _stdio(url: str, key: str, _: str) -> AsyncIterator[Ask]:
    address = url.replace("http", "ws", 1) + "/ws/x/all"
    environment = {**os.environ, "DEVOPS_MCP_URL": address, "DEVOPS_MCP_API_KEY": key}
    command = [sys.executable, "-m", "devops_mcp.cli.main", "stdio"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, env=environment, limit=2**24
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    async def ask(text: str) -> dict[str, Any] | None:
        stdin.write(text.encode() + b"\n")
        return await _answer(text, stdout.readline)

    try:
        yield ask
    finally:
        stdin.close()
        await process.wait()


@asynccontextmanager
async def _sse(url: str, key: str, _: str) -> AsyncIterator[Ask]:
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    async with (
        httpx2.AsyncClient(timeout=60, headers=headers) as http,
        http.stream("GET", f"{url}/sse/x/all") as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        path = (await anext(lines)).removeprefix("data: ")
        events = events_of(lines)

        async def heard() -> str:
            return json.dumps((await anext(events)).data)

        async def ask(text: str) -> dict[str, Any] | None:
            answer = await http.post(url + path, content=text)
            return answer.json() if answer.status_code != 202 else await _answer(text, heard)

        yield ask


@asynccontextmanager
async def _http(url: str, key: str, revision: str, accept: str) -> AsyncIterator[Ask]:
    headers = {"X-API-Key": key, "Content-Type": "application/json", "Accept": accept}
    async with httpx2.AsyncClient(timeout=60, headers=headers) as http:

        async def ask(text: str) -> dict[str, Any] | None:
            answer = await http.post(f"{url}/mcp/x/all", content=text, headers=_routing(text, revision, http))
            if "mcp-session-id" in answer.headers:
                http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
                http.headers["MCP-Protocol-Version"] = revision
            return messages_of(answer)[-1] if answer.content else None

        yield ask


def _routing(text: str, revision: str, http: httpx2.AsyncClient) -> dict[str, str]:
    """The headers that a request of the newest revision repeats itself in."""
    if revision != STATELESS:
        return {}
    message = _read(text)
    params = message.get("params", {})
    name = str(params.get("name") or params.get("uri") or "")
    named = (
        {"Mcp-Name": name}
        if name and message["method"] in ("tools/call", "prompts/get", "resources/read")
        else {}
    )
    return {"MCP-Protocol-Version": revision, "Mcp-Method": message.get("method", "none"), **named}


@asynccontextmanager
async def _http_json(url: str, key: str, revision: str) -> AsyncIterator[Ask]:
    accept = BOTH if revision == STATELESS else "application/json"
    async with _http(url, key, revision, accept) as ask:
        yield ask


@asynccontextmanager
async def _http_sse(url: str, key: str, revision: str) -> AsyncIterator[Ask]:
    accept = BOTH if revision == STATELESS else "text/event-stream"
    async with _http(url, key, revision, accept) as ask:
        yield ask


_CHANNELS = {"ws": _ws, "http-json": _http_json, "http-sse": _http_sse, "sse": _sse, "stdio": _stdio}


async def _answer(text: str, hear: Callable[[], Awaitable[str | bytes]]) -> dict[str, Any] | None:
    """The next message that is an answer; nothing answers a notification."""
    message = _read(text)
    if "method" in message and "id" not in message:
        return None
    async with asyncio.timeout(60):
        while True:
            heard: dict[str, Any] = json.loads(await hear())
            if "method" not in heard:
                return heard


def _read(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}

"""A client of the handshake era over Streamable HTTP, message by message, that sends each request to the next of several replicas."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
BOTH = "application/json, text/event-stream"


@dataclass(frozen=True)
class Event:
    """One server-sent event. `data` is the message in it, None where it holds none."""

    id: str | None
    name: str
    data: dict[str, Any] | None


class HandshakeClient:
    """`urls` are the replicas' base URLs; `replica` may be set to send everything to one of them."""

    def __init__(
        self, http: httpx2.AsyncClient, urls: Sequence[str], key: str, version: str = "2025-11-25"
    ) -> None:
        self.http = http
        self.key = key
        self.version = version
        self.session_id: str | None = None
        self.replica: str | None = None
        self._next_url = itertools.cycle(urls)
        self._ids = itertools.count(1)

    def url(self) -> str:
        return (self.replica or next(self._next_url)) + "/mcp"

    def headers(self, **changes: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.key}", "Accept": BOTH, "Content-Type": "application/json"}
        if self.session_id is not None:
            headers |= {"Mcp-Session-Id": self.session_id, "MCP-Protocol-Version": self.version}
        return headers | changes

    async def begin(self, capabilities: dict[str, Any] | None = None) -> dict[str, Any]:
        """Shake hands; the result of `initialize`."""
        params = {
            "protocolVersion": self.version,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        answer = await self.post(self.request("initialize", params))
        assert answer.status_code == 200, answer.text
        self.session_id = answer.headers["mcp-session-id"]
        told = await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert told.status_code == 202, told.text
        return messages_of(answer)[-1]["result"]

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}

    async def post(self, message: dict[str, Any], **headers: str) -> httpx2.Response:
        return await self.http.post(self.url(), json=message, headers=self.headers(**headers))

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """The response to a request, result or error."""
        answer = await self.post(self.request(method, params))
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return messages_of(answer)[-1]

    async def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """A tool's result, which must not be an error."""
        answer = await self.call("tools/call", {"name": name, "arguments": arguments})
        assert not answer["result"].get("isError"), answer
        return answer["result"]

    async def delete(self) -> int:
        return (await self.http.delete(self.url(), headers=self.headers())).status_code

    @asynccontextmanager
    async def listening(self, last_event_id: str | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a GET stream, opened with `Last-Event-ID` if one is given."""
        changes = {"Accept": "text/event-stream"} | (
            {"Last-Event-ID": last_event_id} if last_event_id else {}
        )
        async with self.http.stream("GET", self.url(), headers=self.headers(**changes)) as answer:
            assert answer.status_code == 200, (answer.status_code, await answer.aread())
            yield events_of(answer.aiter_lines())

    @asynccontextmanager
    async def streaming(self, message: dict[str, Any]) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a request that is answered with a stream."""
        async with self.http.stream("POST", self.url(), json=message, headers=self.headers()) as answer:
            assert answer.headers["content-type"] == "text/event-stream", answer.headers
            yield events_of(answer.aiter_lines())


async def next_message(events: AsyncIterator[Event], *, within_s: float = 30.0) -> Event:
    """The next event that holds a message."""
    async with asyncio.timeout(within_s):
        async for event in events:
            if event.data is not None:
                return event
    raise AssertionError("the stream ended without a message")


async def events_of(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            data = fields["data"]
            message = json.loads(data) if data.startswith("{") else None
            yield Event(fields.get("id"), fields.get("event", "message"), message)
            fields = {}


def messages_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The messages of an answer that has been read, document or stream."""
    if answer.headers["content-type"] == "application/json":
        return [answer.json()]
    lines = (line.partition(":") for line in answer.text.splitlines())
    return [json.loads(value) for name, _, value in lines if name == "data" and value.strip()]

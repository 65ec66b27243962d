"""A queue that misbehaves within its promises: every message twice, out of order, acknowledgements that get lost."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_TARGET = "x-amz-target"


@dataclass
class QueueFaults:
    """An ASGI application in front of the queue server at `url`; what SQS allows itself is done on request."""

    url: str
    chance: random.Random
    twice: bool = False
    out_of_order_s: int = 0
    """Messages of a batch come back to front, each delayed by up to this many seconds."""
    lose_deletions: int = 0
    """So many acknowledgements are answered and forgotten."""
    fail: int = 0
    """So many requests are answered 500."""
    counted: dict[str, int] = field(default_factory=dict)
    _http: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(timeout=40, trust_env=False))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body, action = await request.body(), request.headers.get(_TARGET, "").rpartition(".")[2]
        self.counted[action] = self.counted.get(action, 0) + 1
        answering = asyncio.create_task(self._answer(action, body, dict(request.headers)))
        hung_up = asyncio.create_task(_hung_up(receive))
        await asyncio.wait({answering, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        hung_up.cancel()
        if answering.done():
            await answering.result()(scope, receive, send)
        else:
            answering.cancel()  # or what it waits for would be received by nobody

    async def _answer(self, action: str, body: bytes, headers: dict[str, str]) -> Response:
        if self.fail:
            self.fail -= 1
            return Response(b'{"__type":"InternalError","message":"on purpose"}', 500)
        if action == "DeleteMessageBatch" and self.lose_deletions:
            self.lose_deletions -= 1
            deleted = [{"Id": entry["Id"]} for entry in json.loads(body)["Entries"]]
            return _json({"Successful": deleted})
        if action == "SendMessageBatch":
            body = self._disordered(body)
            if self.twice:
                await self._forward(body, headers)
        return await self._forward(body, headers)

    def _disordered(self, body: bytes) -> bytes:
        if not self.out_of_order_s:
            return body
        told: dict[str, Any] = json.loads(body)
        if any("MessageGroupId" in entry for entry in told["Entries"]):
            return body  # a FIFO queue promises more
        told["Entries"] = [
            {**entry, "DelaySeconds": self.chance.randint(0, self.out_of_order_s)}
            for entry in reversed(told["Entries"])
        ]
        return json.dumps(told).encode()

    async def _forward(self, body: bytes, headers: dict[str, str]) -> Response:
        kept = {name: value for name, value in headers.items() if name not in ("host", "content-length")}
        try:
            answer = await self._http.post(self.url, content=body, headers=kept)
        except httpx2.TransportError:
            return Response(b"{}", 503)
        return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))

    async def close(self) -> None:
        await asyncio.shield(self._http.aclose())


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(value: object) -> Response:
    return Response(json.dumps(value), media_type="application/x-amz-json-1.0")

"""A balancer without memory: each request goes to the next server, on a connection of its own."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from support.servers import serve

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@asynccontextmanager
async def balancing(*urls: str, versions: set[str | None] | None = None) -> AsyncIterator[str]:
    """The base URL of a proxy in front of the servers; it notes the protocol's versions that it sees in headers."""
    next_url = itertools.cycle(urls)

    async with httpx2.AsyncClient(timeout=httpx2.Timeout(10, read=None)) as http:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            if versions is not None:
                versions.add(request.headers.get("mcp-protocol-version"))
            headers = [(k, v) for k, v in request.headers.items() if k not in _HOP_BY_HOP]
            target = next(next_url) + request.url.path
            asked = http.build_request(
                request.method,
                target,
                params=request.query_params,
                headers=headers,
                content=await request.body(),
            )
            answer = await http.send(asked, stream=True)
            kept = {k: v for k, v in answer.headers.items() if k not in _HOP_BY_HOP}
            try:
                await StreamingResponse(answer.aiter_raw(), answer.status_code, kept)(scope, receive, send)
            finally:
                await answer.aclose()

        async with serve(app) as url:
            yield url

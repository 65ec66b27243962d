"""One key's WebSockets and streams leave room for others, over real sockets."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from devops_mcp.models.ids import new_id
from support.channels import STATELESS, asking
from support.handshake import BOTH, HandshakeClient
from support.services import new_key, running_mcp, settings_for
from support.tenants import add_tenant

OF_ONE = 2
LONG_S = 60.0
WAYS = ("ws", "sse", "stream of a session", "subscription")


@pytest.fixture
def settings(database, redis_url):
    settings = settings_for(database.mcp_url, redis_url)
    return settings.model_copy(update={"mcp": settings.mcp.model_copy(update={"caller_connections": OF_ONE})})


def told(status: int, headers: Mapping[str, str], body: bytes) -> int:
    """The status of a refusal that says what to do."""
    assert "close one" in json.loads(body)["detail"]
    assert int(headers["retry-after"]) > 0
    return status


async def open_one(stack: AsyncExitStack, http: httpx2.AsyncClient, url: str, key: str, way: str) -> int:
    """Open one more and leave it open; the status."""
    if way == "ws":
        address = url.replace("http", "ws", 1) + "/ws"
        try:
            await stack.enter_async_context(connect(address, additional_headers={"X-API-Key": key}))
        except InvalidStatus as refused:
            return told(refused.response.status_code, refused.response.headers, refused.response.body)
        return 101
    if way == "stream of a session":
        client = HandshakeClient(http, [url], key)
        await client.begin()
        headers = client.headers(Accept="text/event-stream")
        streaming = http.stream("GET", f"{url}/mcp", headers=headers)
    elif way == "sse":
        streaming = http.stream("GET", f"{url}/sse", headers={"X-API-Key": key})
    else:
        listen = {
            **asking(STATELESS, "subscriptions/listen", notifications={"toolsListChanged": True}),
            "id": 1,
        }
        headers = {"X-API-Key": key, "Accept": BOTH, "Content-Type": "application/json"}
        headers |= {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "subscriptions/listen"}
        streaming = http.stream("POST", f"{url}/mcp", content=json.dumps(listen), headers=headers)
    answer = await stack.enter_async_context(streaming)
    if answer.status_code != 200:
        return told(answer.status_code, answer.headers, await answer.aread())
    return 200


@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_has_so_many_open_and_others_have_theirs(database, settings, way):
    """S04"""
    other = new_id()
    add_tenant(database, other)
    crowd, colleague = await new_key(database.owner_url), await new_key(database.owner_url)
    third, neighbour = await new_key(database.owner_url), await new_key(database.owner_url, tenant_id=other)
    fine = 101 if way == "ws" else 200
    async with (
        running_mcp(settings) as url,
        httpx2.AsyncClient(timeout=LONG_S) as http,
        AsyncExitStack() as stack,
        asyncio.timeout(LONG_S),
    ):
        async with AsyncExitStack() as theirs:
            assert [await open_one(theirs, http, url, crowd, way) for _ in range(OF_ONE + 1)] == [
                fine,
                fine,
                429,
            ]
            assert [await open_one(theirs, http, url, colleague, way) for _ in range(OF_ONE)] == [fine, fine]
            assert await open_one(stack, http, url, third, way) == 429, "the tenant has as many as it may"
            assert await open_one(stack, http, url, neighbour, way) == fine
            for_calls = {"X-API-Key": crowd, "Accept": BOTH, "Content-Type": "application/json"}
            call = {**asking(STATELESS, "tools/list"), "id": 1}
            routed = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": "tools/list"}
            called = await http.post(f"{url}/mcp", content=json.dumps(call), headers=for_calls | routed)
            assert called.status_code == 200, "what is answered at once is not counted"
        while await open_one(stack, http, url, crowd, way) != fine:
            await asyncio.sleep(0.01)

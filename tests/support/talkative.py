"""An MCP server whose tools do what the protocol allows a tool to do while it runs, over our HTTP transports; one replica each call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Route

from devops_mcp.auth.api_keys import hash_secret, parse_key
from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.redis import open_redis
from devops_mcp.config import ServerSettings
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.models.principals import FoundKey, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.serving.lasting import Lasting
from devops_mcp.serving.server import listening
from devops_mcp.serving.surface import Surface
from mcp_server.caller import Entrance
from mcp_server.transports.http import HttpEndpoint
from mcp_server.transports.http_sessions import sessions_over
from mcp_server.transports.sse import SseEndpoint

KEY = "dm_" + "a" * 12 + "_" + "b" * 43
MIB = 1_048_576
NOT_THERE = "test://not/there"


class Talkative:
    """The tools: `ask` asks the client, `report` reports progress and waits for `go_on`, `leave` sends its reader away and then waits."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.called = asyncio.Event()
        self.watched: list[str] = []
        """What somebody asked to be told of, also where that was refused."""

    def server(self) -> Server[dict[str, Any]]:
        return Server(
            "talkative",
            version="1",
            on_call_tool=self._call,
            on_subscribe_resource=self._subscribe,
            on_unsubscribe_resource=self._unsubscribe,
        )

    async def _call(
        self, ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        self.called.set()
        text = await getattr(self, f"_{params.name}")(ctx)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)])

    async def _ask(self, ctx: ServerRequestContext[Any, Any]) -> str:
        schema = {"type": "object", "properties": {"word": {"type": "string"}}}
        answer = await ctx.session.elicit_form("say a word", schema, related_request_id=ctx.request_id)
        return str((answer.content or {}).get("word"))

    async def _report(self, ctx: ServerRequestContext[Any, Any]) -> str:
        await ctx.session.report_progress(1, 2, "half")
        await self.go_on.wait()
        return "whole"

    async def _leave(self, ctx: ServerRequestContext[Any, Any]) -> str:
        assert ctx.close_sse_stream is not None
        await ctx.close_sse_stream()
        await self.go_on.wait()
        return "came again"

    async def _subscribe(
        self, ctx: ServerRequestContext[Any, Any], params: types.SubscribeRequestParams
    ) -> types.EmptyResult:
        """Tells on the session's own stream that it was heard; raises for what is not there."""
        self.watched.append(str(params.uri))
        if params.uri == NOT_THERE:
            raise MCPError(types.INVALID_PARAMS, "it is not there")
        await ctx.session.send_resource_updated(str(params.uri))
        return types.EmptyResult()

    async def _unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: types.UnsubscribeRequestParams
    ) -> types.EmptyResult:
        return types.EmptyResult()


@asynccontextmanager
async def replica(redis_url: str, talkative: Talkative, **times: float) -> AsyncIterator[str]:
    """The base URL of a process that serves the tools at /mcp and /sse; `times` are those of its sessions."""
    stop = asyncio.Event()
    keyring = Keyring([SecretStr("a master key for the tests, and nothing else")])
    settings = ServerSettings(drain_timeout_s=5)
    async with open_redis(redis_url, command_timeout_s=1) as redis:
        server = talkative.server()
        sessions = sessions_over(server, redis, keyring, **times)
        entrance = Entrance(Authenticator(_find), Toolsets(()), Lasting(1_000, 0, lambda _: None, "streams"))
        http = HttpEndpoint(server, entrance, sessions, max_body_bytes=MIB)
        sse = SseEndpoint(entrance, sessions)
        routes = [
            Route("/mcp", http, methods=["GET", "POST", "DELETE"]),
            Route("/sse", sse.stream, methods=["GET"]),
            Route("/messages/", sse.messages, methods=["POST"]),
        ]
        app = Surface(Starlette(routes=routes), settings, Metrics())
        async with http.running(stop), sessions.running(stop), listening(app, settings) as port:
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                stop.set()


async def _find(prefix: str) -> list[FoundKey]:
    parts = parse_key(KEY)
    assert parts is not None
    key = FoundKey(
        id=UUID(int=1),
        tenant_id=DEFAULT_TENANT_ID,
        prefix=parts.prefix,
        secret_hash=hash_secret(parts.secret),
        kind=PrincipalKind.AGENT,
        name="tester",
        grants=("*",),
        created_at=utc_now(),
    )
    return [key] if prefix == parts.prefix else []

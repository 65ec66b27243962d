"""The composition root of mcp-server: what it is made of, in the order of its start."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.config import Settings
from devops_mcp.observability.health import Health
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.change_feed import ChangeFeed
from devops_mcp.operations.feed import EventFeed
from devops_mcp.operations.platform import open_platform
from devops_mcp.serving.lasting import Lasting
from devops_mcp.serving.limits import BodyLimits, Limits
from devops_mcp.serving.protected_resource import ProtectedResource, issuers_of
from devops_mcp.serving.route_index import IndexedRouter
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.server import limits_for
from devops_mcp.serving.surface import Surface
from mcp_server.authorization import ADDRESS, TO_BEGIN_WITH, NarrowTokens
from mcp_server.caller import READ_ONLY_PATH, Entrance
from mcp_server.handlers.resources import INTEGRATIONS_URI
from mcp_server.protocol import build_protocol
from mcp_server.transports.http import HttpEndpoint
from mcp_server.transports.http_sessions import sessions_over
from mcp_server.transports.sse import MESSAGES_PATH, STREAM_PATH, SseEndpoint
from mcp_server.transports.websocket import WebSocketEndpoint
from mcp_server.transports.ws_resumption import Resumption
from mcp_server.transports.ws_tickets import Tickets

VIEWS = ("", READ_ONLY_PATH, "/x/{systems}", f"/x/{{systems}}{READ_ONLY_PATH}")
"""What an address says of the tools to lay before its callers."""
ADDRESSES = tuple(f"{path}{view}" for path in ("/mcp", STREAM_PATH, "/ws") for view in VIEWS)
"""What clients may know the service by."""
SESSION_REDIS_S = 1.0
MCP_METHODS = ["GET", "POST", "DELETE"]


@asynccontextmanager
async def open_app(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> AsyncIterator[ASGIApp]:
    """The service's application, with everything behind it open until the block ends. `stop` begins the drain of open sockets."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(open_platform(settings, metrics, application="mcp-server"))
        notices = Notices(platform.redis, metrics)
        feed = await stack.enter_async_context(EventFeed(platform.database, notices, metrics).running())
        changes = await stack.enter_async_context(ChangeFeed(platform.changes).running())
        platform.integration_watch.on_change(partial(changes.tell, uri=INTEGRATIONS_URI))
        protocol = build_protocol(platform, feed, changes)
        server, fast = protocol.server, protocol.fast
        body_limits = BodyLimits()
        resource = ProtectedResource(
            "DevOps MCP",
            settings.mcp.url,
            issuers_of(settings),
            to_begin_with=TO_BEGIN_WITH,
            paths=ADDRESSES,
            shown=ADDRESS,
        )
        # Sessions wait for Redis longer than a cache may: what they ask it is not asked on every request.
        url = settings.redis_url.get_secret_value()
        redis = await stack.enter_async_context(open_redis(url, command_timeout_s=SESSION_REDIS_S))
        sessions = sessions_over(server, redis, platform.keyring, fast)
        connections = limits_for(settings.mcp, Limits()).connections
        refused = metrics.connection_refused
        lasting = Lasting(connections, settings.mcp.caller_connections, refused, "WebSockets and streams")
        entrance = Entrance(platform.authenticator, platform.toolsets, lasting)
        http = HttpEndpoint(
            server,
            entrance,
            sessions,
            max_body_bytes=body_limits.default,
            fast=fast,
            narrow=NarrowTokens(platform.catalogue, platform.integrations, resource),
        )
        sse = SseEndpoint(entrance, sessions)
        await stack.enter_async_context(http.running(stop))
        await stack.enter_async_context(sessions.running(stop))
        tickets = Tickets(redis, platform.keyring, platform.authenticator, platform.request_rates)
        websocket = WebSocketEndpoint(
            server, entrance, stop, tickets, Resumption(redis, platform.keyring), fast
        )
        await stack.enter_async_context(websocket.running())
        routes = [
            *(Route(f"/mcp{view}", http, methods=MCP_METHODS) for view in VIEWS),
            *(Route(f"{STREAM_PATH}{view}", sse.stream, methods=["GET"]) for view in VIEWS),
            *(Route(f"{MESSAGES_PATH}{view or '/'}", sse.messages, methods=["POST"]) for view in VIEWS),
            Route("/ws/tickets", tickets.issue, methods=["POST"]),
            *(WebSocketRoute(f"/ws{view}", websocket.serve) for view in VIEWS),
            *(Route(f"/ws{view}", _only_by_upgrade, methods=["GET"]) for view in VIEWS),
            *resource.routes(),
            *common_routes(Health(platform.checks), metrics),
        ]
        yield Surface(IndexedRouter(routes), settings.mcp, metrics, body_limits, resource.challenge)


async def _only_by_upgrade(request: Request) -> NoReturn:
    upgrade = {"upgrade": "websocket", "connection": "upgrade"}
    raise HTTPException(426, "this is the address of a WebSocket: connect with ws:// or wss://", upgrade)

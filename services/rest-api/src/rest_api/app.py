"""The composition root of rest-api: what it is made of, in the order of its start."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from types import MappingProxyType

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from devops_mcp.config import Settings
from devops_mcp.models.oauth import DEFAULT_SCOPES
from devops_mcp.observability.health import Health
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake
from devops_mcp.operations.platform import open_platform
from devops_mcp.serving.lasting import Lasting
from devops_mcp.serving.limits import Limits
from devops_mcp.serving.protected_resource import ProtectedResource, issuers_of
from devops_mcp.serving.route_index import IndexedRouter
from devops_mcp.serving.routes import common_routes
from devops_mcp.serving.server import limits_for
from devops_mcp.serving.surface import Surface
from rest_api import encodings, etags
from rest_api.docs import POLICY, page
from rest_api.oauth import oauth_routes
from rest_api.openapi import document
from rest_api.routes import ENDPOINTS
from rest_api.table import routes_of
from rest_api.webhooks import webhook_routes
from rest_api.well_known import well_known_routes

SLOW_OF_ONE = 16
"""Exports and files that one caller may be reading at once; a file is in memory until its reader has it."""
_API = "/api/"
_OPEN = frozenset(endpoint.path for endpoint in ENDPOINTS if endpoint.open)


@asynccontextmanager
async def open_app(settings: Settings, metrics: Metrics, stop: asyncio.Event) -> AsyncIterator[ASGIApp]:
    """The service's application, with everything behind it open until the block ends. Requests end by themselves, so `stop` is unused."""
    async with open_platform(settings, metrics, application="rest-api") as platform:
        intake = EventIntake(platform.database, metrics, platform.blobs)
        resource = ProtectedResource(
            "DevOps MCP REST API",
            settings.rest.url,
            issuers_of(settings),
            to_begin_with=DEFAULT_SCOPES,
        )
        connections = limits_for(settings.rest, Limits()).connections
        slow = Lasting(connections, SLOW_OF_ONE, metrics.connection_refused, "exports and files")
        routes = [
            *webhook_routes(platform.integrations, intake),
            *routes_of(ENDPOINTS, platform, resource, slow),
            *resource.routes(),
            *documentation_routes(),
            *well_known_routes(platform),
            *oauth_routes(platform.authorization),
            *common_routes(Health(platform.checks), metrics),
        ]
        app = IndexedRouter(routes)
        yield Surface(app, settings.rest, metrics, challenge=partial(_challenge, resource))


def _challenge(resource: ProtectedResource, scope: Scope) -> bytes:
    """The API takes tokens; what gives them looks at none, and the senders of webhooks are told of none."""
    takes_tokens = scope["path"].startswith(_API) and scope["path"] not in _OPEN
    return resource.challenge(scope) if takes_tokens else b"Bearer"


@cache
def documentation_routes() -> tuple[Route, ...]:
    """`/openapi.json` and `/docs`, made once a process."""
    described = document(ENDPOINTS)
    return (
        _document("/openapi.json", orjson.dumps(described), "application/json"),
        _document("/docs", page(described).encode(), "text/html", {"content-security-policy": POLICY}),
    )


def _document(
    path: str, content: bytes, media_type: str, own_headers: Mapping[str, str] = MappingProxyType({})
) -> Route:
    """Tagged, and encoded once for each coding that somebody asks for."""
    tag = etags.version_of(content)
    bodies: dict[str | None, bytes] = {None: content}

    async def show(request: Request) -> Response:
        coding = encodings.negotiated(request.headers.get("accept-encoding", ""), len(content))
        shown_tag = f'"{tag}"' if coding is None else f'"{tag}-{coding}"'
        headers = {**own_headers, "vary": "accept-encoding", "etag": shown_tag}
        if etags.is_known(etags.condition(request.headers, "if-none-match") or "", tag):
            return Response(status_code=304, headers=headers)
        if coding is not None:
            headers["content-encoding"] = coding
            bodies[coding] = bodies.get(coding) or await encodings.encoded(coding, content)
        return Response(bodies[coding], headers=headers, media_type=media_type)

    return Route(path, show)

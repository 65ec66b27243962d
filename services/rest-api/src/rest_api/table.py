"""From the table of endpoints to the routes that serve it."""

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

from starlette.convertors import Convertor, UUIDConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from devops_mcp.operations.platform import Platform
from devops_mcp.serving.lasting import Lasting
from devops_mcp.serving.protected_resource import ProtectedResource
from rest_api.answering import Answering
from rest_api.cursors import Cursors
from rest_api.endpoint import AnyEndpoint
from rest_api.once import Once

_LEASES = 2
"""A claim outlives the longest call of a tool so many times."""


class _Id(Convertor[str]):
    """An id as it is written: it is read with the other parameters."""

    regex = UUIDConvertor.regex

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _Id())

Serve: TypeAlias = Callable[[Request], Awaitable[Response]]


def routes_of(
    endpoints: Iterable[AnyEndpoint], platform: Platform, resource: ProtectedResource, slow: Lasting
) -> list[Route]:
    """One route a path, so that what is said of a method that it lacks names all that it has.

    `slow` is how many answers of one there may be that are as long as their readers take.
    """
    cursors = Cursors(platform.keyring)
    marked = Once(platform.database, platform.keyring, _LEASES * timedelta(seconds=platform.tools.longest_s))
    by_path: defaultdict[str, dict[str, Serve]] = defaultdict(dict)
    for endpoint in endpoints:
        serve = Answering(endpoint, platform, resource, cursors, marked, slow)
        by_path[_pattern(endpoint)][endpoint.method] = serve
    return [Route(pattern, _Path(serving), methods=list(serving)) for pattern, serving in by_path.items()]


class _Path:
    """What serves the methods of one path, as an ASGI application."""

    def __init__(self, serving: Mapping[str, Serve]) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Starlette has let no other method through; it adds HEAD to GET.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        response = await self._serving[method](Request(scope, receive, send))
        await response(scope, receive, send)


def _pattern(endpoint: AnyEndpoint) -> str:
    """The path, whose ids match ids only: `/dead-letters/purge` is no dead letter."""

    def typed(hole: re.Match[str]) -> str:
        if hole[1] == endpoint.rest:
            return f"{{{hole[1]}:path}}"
        field = endpoint.params.model_fields.get(hole[1])
        return f"{{{hole[1]}:id}}" if field is not None and field.annotation is UUID else hole[0]

    return re.sub(r"{(\w+)}", typed, endpoint.path)

"""CORS for the origins the operator listed, and for no others. Never with credentials: callers send a bearer token themselves."""

from starlette.responses import Response
from starlette.types import Scope

from devops_mcp.serving.hosts import HostPolicy

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_HEADERS = (
    "authorization, x-api-key, content-type, accept, last-event-id, idempotency-key, if-match, if-none-match, x-request-id, traceparent, "
    "mcp-session-id, mcp-protocol-version, mcp-method, mcp-name"
)
_EXPOSED = (
    b"x-request-id, retry-after, www-authenticate, etag, location, idempotency-replayed, ratelimit, ratelimit-policy, server-timing, "
    b"content-disposition, mcp-session-id, mcp-protocol-version"
)
_MAX_AGE_S = "600"


def preflight(scope: Scope, origin: bytes, hosts: HostPolicy) -> Response | None:
    """The answer to a preflight from a listed origin; None for any other request."""
    if scope["method"] != "OPTIONS" or not origin or not hosts.listed(origin):
        return None
    if not any(name == b"access-control-request-method" for name, _ in scope["headers"]):
        return None
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _HEADERS,
            "access-control-max-age": _MAX_AGE_S,
        },
    )


def headers(origin: bytes, hosts: HostPolicy) -> list[tuple[bytes, bytes]]:
    """What every answer carries; the origin is echoed only if it is listed."""
    vary = [(b"vary", b"origin")]
    if not origin or not hosts.listed(origin):
        return vary
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _EXPOSED), *vary]

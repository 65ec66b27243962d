"""Who calls: the seam between the HTTP surface and whatever proves a caller's identity."""

from collections.abc import Mapping
from typing import Protocol

import structlog
from starlette.requests import HTTPConnection

from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.principals import Principal


class Authenticator(Protocol):
    """Proves identities from headers alone: a credential in an address ends up in logs and histories."""

    async def __call__(self, headers: Mapping[str, str], /) -> Principal:
        """The caller; names of headers are looked up in any case. Raises `Unauthenticated`."""
        ...


async def principal_of(connection: HTTPConnection, authenticate: Authenticator) -> Principal:
    """The caller of a request or handshake, whose ids are on every log line from here on.

    Raises `Unauthenticated` also when `Authorization` comes twice: one reader would take the first, another the last.
    """
    if len(connection.headers.getlist("authorization")) > 1:
        raise Unauthenticated("the request carries more than one Authorization header; send one")
    principal = await authenticate(connection.headers)
    structlog.contextvars.bind_contextvars(tenant_id=str(principal.tenant_id), principal_id=str(principal.id))
    return principal

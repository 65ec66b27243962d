"""Who calls: the seam between the HTTP surface and whatever proves a caller's identity."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog
from starlette.requests import HTTPConnection

from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.principals import Principal

_CREDENTIALS = {b"authorization": "authorization", b"x-api-key": "x-api-key"}


class Authenticator(Protocol):
    """Proves identities from headers alone: a credential in an address ends up in logs and histories."""

    async def __call__(self, headers: Mapping[str, str], /) -> Principal:
        """The caller, by those of its headers that hold a credential, in lower case. Raises `Unauthenticated`."""
        ...


async def principal_of(connection: HTTPConnection, authenticate: Authenticator) -> Principal:
    """The caller of a request or handshake, whose ids are on every log line from here on.

    Raises `Unauthenticated` also when a header with a credential comes twice: one reader would take the first, another the last.
    """
    principal = await authenticate(_credentials(connection.scope["headers"]))
    structlog.contextvars.bind_contextvars(**principal.ids)
    return principal


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    shown: dict[str, str] = {}
    for raw, value in headers:
        if (name := _CREDENTIALS.get(raw)) is not None:
            if name in shown:
                raise Unauthenticated(f"the request carries more than one header {name}; send one")
            shown[name] = value.decode("latin-1")
    return shown

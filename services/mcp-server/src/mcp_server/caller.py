"""Who speaks on a connection: fixed when it opens, asked again on every request."""

from collections.abc import Mapping
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.principals import Principal

SCOPE_KEY = "devops_mcp.caller"
UNAUTHENTICATED = -32001
"""Our own code, in the range that JSON-RPC leaves to servers."""


class Caller:
    """A connection's credential. It is looked up anew for each request, so that a revoked key stops working on open connections."""

    def __init__(self, authenticator: Authenticator, headers: Mapping[str, str]) -> None:
        self._authenticator = authenticator
        self._headers = headers

    async def principal(self) -> Principal:
        """The caller; raises `Unauthenticated`."""
        return await self._authenticator.authenticate(self._headers)


async def principal_of(ctx: ServerRequestContext[Any, Any]) -> Principal:
    """The principal behind a request, on whichever transport it came."""
    assert ctx.request is not None, "every transport hands on the request it came with"
    caller: Caller = ctx.request.scope[SCOPE_KEY]
    try:
        return await caller.principal()
    except Unauthenticated as error:
        raise MCPError(UNAUTHENTICATED, error.message) from None

"""The protocol over Streamable HTTP: the SDK's session manager behind our authentication.

2026-07-28 requests stand alone, so any replica answers them. Sessions of the handshake era live in this process and belong to the
principal that began them; another's session is answered like one that does not exist.
"""

from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.principals import Principal
from devops_mcp.serving import problems
from mcp_server.caller import SCOPE_KEY, Caller


class HttpEndpoint:
    """An ASGI application for `/mcp`. Host and Origin have been checked by the surface in front of it."""

    def __init__(
        self, server: Server[dict[str, Any]], authenticator: Authenticator, *, max_body_bytes: int
    ) -> None:
        self.manager = StreamableHTTPSessionManager(
            server, json_response=False, max_request_body_size=max_body_bytes
        )
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = Caller(self._authenticator, Headers(scope=scope))
        try:
            principal = await caller.principal()
        except PlatformError as error:
            await problems.of_error(error, scope["state"]["request_id"])(scope, receive, send)
            return
        scope[SCOPE_KEY] = caller
        scope["user"] = _user(principal)
        await self.manager.handle_request(scope, receive, send)


def _user(principal: Principal) -> AuthenticatedUser:
    """What the SDK binds a session to. The token is no part of it: a principal's rotated key continues its sessions."""
    return AuthenticatedUser(
        AccessToken(token="", client_id=str(principal.id), scopes=[], subject=str(principal.tenant_id))
    )

"""How a client that has no token, or one that is too narrow, learns where to get one (RFC 9728, RFC 6750 §3)."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import mcp_types as types
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from devops_mcp.models.permissions import BUILT_IN, PERMISSIONS, PLATFORM, BuiltInRole
from devops_mcp.models.principals import Principal
from devops_mcp.operations.catalogue import Catalogue
from devops_mcp.operations.integrations import Integrations
from devops_mcp.serving import problems

METADATA = "/.well-known/oauth-protected-resource"
TO_BEGIN_WITH = BUILT_IN[BuiltInRole.AGENT]
"""The scopes that a client without a token is told to ask for: more it is told of when it needs more."""
SCOPES = tuple(p.grant for p in PERMISSIONS if not p.name.startswith(PLATFORM))
_ADDRESS = re.compile(r"/(mcp|sse|ws)(/[A-Za-z0-9_.,~-]+)*")
"""Of clients; what else a path may hold would end the quotation."""
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_FRONT_DOOR = frozenset({"tools_read", "tools_call"})


class ProtectedResource:
    """The service as OAuth sees it: a resource at each of its addresses, and who gives tokens for it."""

    def __init__(self, address: str, issuers: Iterable[str], paths: Iterable[str]) -> None:
        self._address = address
        self._issuers = list(issuers)
        self._paths = tuple(paths)

    def routes(self) -> list[Route]:
        """The metadata of the whole service, and of each address that a client may know it by."""
        return [Route(f"{METADATA}{path}", self.metadata, methods=["GET"]) for path in ("", *self._paths)]

    async def metadata(self, request: Request) -> Response:
        """`GET /.well-known/oauth-protected-resource/mcp` and its like."""
        document = {
            "resource": self._address + request.url.path.removeprefix(METADATA),
            "authorization_servers": self._issuers,
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
            "resource_name": "DevOps MCP",
        }
        return JSONResponse(document, headers={"cache-control": "public, max-age=3600"})

    def challenge(self, scope: Scope) -> bytes:
        """`WWW-Authenticate` of a 401: what is wrong, where to read on, and what to ask for."""
        presented = any(name in _CREDENTIALS for name, _ in scope["headers"])
        fault = 'error="invalid_token", ' if presented else ""
        return f"Bearer {fault}{self._about(scope, TO_BEGIN_WITH)}".encode()

    def too_narrow(self, scope: Scope, scopes: Iterable[str]) -> Response:
        """The 403 that tells a client which scopes the call takes."""
        lacking = problems.problem(403, "insufficient_scope", "the access token was not given for this tool")
        about = self._about(scope, scopes)
        lacking.headers["www-authenticate"] = f'Bearer error="insufficient_scope", {about}'
        return lacking

    def _about(self, scope: Scope, scopes: Iterable[str]) -> str:
        path = scope["path"] if _ADDRESS.fullmatch(scope["path"]) else ""
        return f'resource_metadata="{self._address}{METADATA}{path}", scope="{" ".join(scopes)}"'


class NarrowTokens:
    """Tells a token that was given for too little from a user who may not: only the first is helped by another token."""

    def __init__(self, catalogue: Catalogue, integrations: Integrations, resource: ProtectedResource) -> None:
        self._resource = resource
        self._catalogue = catalogue
        self._integrations = integrations

    def refusal(
        self, scope: Scope, principal: Principal, message: types.JSONRPCMessage | None
    ) -> Response | None:
        """The 403 that a client asks for another token after; None where that would not help."""
        of_session = principal.limits and principal.session_id is not None
        lacking = self._lacking(principal, message) if of_session else ()
        return self._resource.too_narrow(scope, lacking) if lacking else None

    def _lacking(self, principal: Principal, message: types.JSONRPCMessage | None) -> tuple[str, ...]:
        """The scopes to ask for, those there are among them, if the call is of a tool that only these keep from the user; else none."""
        if not isinstance(message, types.JSONRPCRequest):
            return ()
        systems = self._integrations.systems(principal.tenant_id)
        entry = self._catalogue.refused(_tool_of(message), principal, systems)
        whole = principal.model_copy(update={"limits": ()})
        if entry is None or not entry.allows(whole, systems.get(entry.system, ())):
            return ()
        return (*(scope for limit in principal.limits for scope in limit), entry.permissions[0])


def _tool_of(message: types.JSONRPCRequest) -> str:
    """The tool that a call is of, also by way of the front door; empty if it is none."""
    params: Mapping[str, Any] = message.params or {}
    name, arguments = params.get("name"), params.get("arguments")
    if message.method != "tools/call" or not isinstance(name, str):
        return ""
    inner = arguments.get("name") if isinstance(arguments, dict) and name in _FRONT_DOOR else name
    return inner if isinstance(inner, str) else ""

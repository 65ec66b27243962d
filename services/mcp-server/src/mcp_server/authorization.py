"""Which scopes a call of a tool takes that its token was not given for (RFC 6750 §3)."""

import re
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from starlette.responses import Response
from starlette.types import Scope

from devops_mcp.models.permissions import BUILT_IN, BuiltInRole
from devops_mcp.models.principals import Principal
from devops_mcp.operations.catalogue import Catalogue
from devops_mcp.operations.integrations import Integrations
from devops_mcp.serving import problems
from devops_mcp.serving.protected_resource import ProtectedResource

TO_BEGIN_WITH = BUILT_IN[BuiltInRole.AGENT]
"""The scopes that a client without a token is told to ask for."""
ADDRESS = re.compile(r"/(mcp|sse|ws)(/[A-Za-z0-9_.,~-]+)*")
"""The paths that clients know the service by."""
_FRONT_DOOR = frozenset({"tools_read", "tools_call"})


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
        if not lacking:
            return None
        answer = problems.problem(403, "insufficient_scope", "the access token was not given for this tool")
        answer.headers["www-authenticate"] = self._resource.too_narrow(scope, lacking)
        return answer

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

"""The short way of `tools/call` in 2026-07-28: for tools that answer at once and talk to nobody.

It gives the same answers as the handlers behind the SDK's kernel, from the same operations, without building the SDK's models of the
request and of the result; `tests/integration/mcp_server/test_fast_calls.py` holds the two to each other. Whatever it does not know to
answer goes the long way.
"""

from typing import Any, TypeGuard

import mcp_types as types
import orjson
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Scope

from devops_mcp.adapters.base import Effect, TaskSupport
from devops_mcp.models.errors import NotFound, PlatformError, Unauthenticated
from devops_mcp.observability.tracing import TRACEPARENT, continued
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.requester import Requester, View
from devops_mcp.operations.tools import ToolOutcome, ToolService
from mcp_server.caller import SCOPE_KEY, Caller, has_beside, view_of
from mcp_server.handlers.contents import result_of
from mcp_server.handlers.tools import error_text

METHOD = "tools/call"
_PARAMS = frozenset({"name", "arguments", "_meta"})
_META = frozenset(
    {
        types.PROTOCOL_VERSION_META_KEY,
        types.CLIENT_CAPABILITIES_META_KEY,
        types.CLIENT_INFO_META_KEY,
        TRACEPARENT,
        "tracestate",
    }
)
_VIEW_KEY = "devops_mcp.view"
_BESIDE_KEY = "devops_mcp.beside"


class FastCalls:
    """Answers calls that are plain; `server_info` is what every result is stamped with."""

    def __init__(self, tools: ToolService, server_info: dict[str, Any]) -> None:
        self._tools = tools
        self._stamp = {"io.modelcontextprotocol/serverInfo": server_info}

    async def answer(self, message: dict[str, Any], scope: Scope) -> bytes | None:
        """The answer as JSON; None when the call must go the long way, and nothing has been done."""
        params = message.get("params")
        if message.get("method") != METHOD or not _is_plain(params) or _has_beside(scope):
            return None
        caller: Caller = scope[SCOPE_KEY]
        try:
            requester = Requester(await caller.principal(), _view(scope))
            entry = self._tools.get(requester, params["name"])
        except (NotFound, Unauthenticated):
            return None
        if not _answers_at_once(entry):
            return None
        meta = params["_meta"]
        carrier = {TRACEPARENT: meta[TRACEPARENT]} if TRACEPARENT in meta else {}
        with continued(carrier, f"{METHOD} {entry.tool.name}"):
            try:
                outcome = await self._tools.call(requester, entry.tool.name, params.get("arguments") or {})
            except PlatformError as error:
                return self._written(message["id"], _failure(error))
        return self._written(message["id"], _success(outcome))

    def _written(self, request_id: str | int, result: dict[str, Any]) -> bytes:
        stamped = {**result, "resultType": "complete", "_meta": self._stamp}
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": stamped})


def _failure(error: PlatformError) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": error_text(error)}], "isError": True}


def _success(outcome: ToolOutcome) -> dict[str, Any]:
    if outcome.blocks:
        shown: dict[str, Any] = result_of(outcome).model_dump(by_alias=True, mode="json", exclude_none=True)
        return shown
    content = [{"type": "text", "text": outcome.text}]
    return {"content": content, "structuredContent": outcome.data, "isError": False}


def _is_plain(params: Any) -> TypeGuard[dict[str, Any]]:
    """Whether the request has the form that most have; any other is judged by the SDK."""
    if (
        not isinstance(params, dict)
        or not params.keys() <= _PARAMS
        or not isinstance(params.get("name"), str)
    ):
        return False
    meta, arguments = params.get("_meta"), params.get("arguments", {})
    return (
        isinstance(arguments, dict)
        and isinstance(meta, dict)
        and meta.keys() <= _META
        and meta.get(types.PROTOCOL_VERSION_META_KEY) in MODERN_PROTOCOL_VERSIONS
        and isinstance(meta.get(types.CLIENT_CAPABILITIES_META_KEY), dict)
        and all(isinstance(meta[key], str) for key in (TRACEPARENT, "tracestate") if key in meta)
    )


def _answers_at_once(entry: CatalogueEntry) -> bool:
    tool = entry.tool
    plain = tool.task is TaskSupport.NEVER and tool.effect is not Effect.DESTRUCTIVE
    return plain and not (tool.converses or tool.relays)


def _view(scope: Scope) -> View:
    """What the address and the headers ask for; a connection's are those of all its calls."""
    view: View | None = scope.get(_VIEW_KEY)
    if view is None:
        view = scope[_VIEW_KEY] = view_of(scope)
    return view


def _has_beside(scope: Scope) -> bool:
    said: bool | None = scope.get(_BESIDE_KEY)
    if said is None:
        said = scope[_BESIDE_KEY] = has_beside(scope)
    return said

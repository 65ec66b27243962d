"""The short way of `tools/call` and `tools/list` in 2026-07-28: for tools that answer at once and talk to nobody, and pages made before.

It gives the same answers as the handlers behind the SDK's kernel, from the same operations, without building the SDK's models of the
request and of the result; `tests/integration/mcp_server/test_fast_calls.py` holds the two to each other. Whatever it does not know to
answer goes the long way.
"""

from collections import OrderedDict
from typing import Any, TypeGuard

import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types.methods import serialize_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.types import Scope

from devops_mcp.adapters.base import Effect, TaskSupport
from devops_mcp.models.errors import NotFound, PlatformError, Unauthenticated
from devops_mcp.observability.tracing import TRACEPARENT, continued
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tools import ToolService
from mcp_server.caller import SCOPE_KEY, Caller, has_beside, view_of
from mcp_server.handlers.contents import result_of
from mcp_server.handlers.tools import ToolHandlers, error_text

METHOD = "tools/call"
LIST = "tools/list"
PAGES = 500
"""So many different pages are kept."""
_CALL = frozenset({"name", "arguments", "_meta"})
_PAGE = frozenset({"cursor", "_meta"})
_META = frozenset(
    {
        types.PROTOCOL_VERSION_META_KEY,
        types.CLIENT_CAPABILITIES_META_KEY,
        types.CLIENT_INFO_META_KEY,
        TRACEPARENT,
        "tracestate",
    }
)
_BESIDE_KEY = "devops_mcp.beside"


class FastCalls:
    """Answers calls that are plain; `server_info` is what every result is stamped with."""

    def __init__(self, tools: ToolService, lists: ToolHandlers, server_info: dict[str, Any]) -> None:
        self._tools = tools
        self._lists = lists
        self._stamp = {"io.modelcontextprotocol/serverInfo": server_info}
        self._ending = (
            b',"isError":false,"resultType":"complete","_meta":' + orjson.dumps(self._stamp) + b"}}"
        )
        self._at_once: dict[str, bool] = {}
        self._pages: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()

    async def answer(self, message: dict[str, Any], scope: Scope) -> bytes | None:
        """The answer as JSON; None when the request must go the long way, and nothing has been done."""
        method, params = message.get("method"), message.get("params")
        if method == METHOD and _is_plain(params, _CALL) and isinstance(params.get("name"), str):
            return None if _has_beside(scope) else await self._call(message["id"], params, scope)
        if method == LIST and _is_plain(params, _PAGE) and isinstance(params.get("cursor", ""), str):
            return await self._page(message["id"], params, scope)
        return None

    async def _page(self, request_id: str | int, params: dict[str, Any], scope: Scope) -> bytes | None:
        """A page as it was written the last time: what is in it depends on rights and view, and on nothing else while we run."""
        caller: Caller = scope[SCOPE_KEY]
        cursor = params.get("cursor")
        version = params["_meta"][types.PROTOCOL_VERSION_META_KEY]
        try:
            principal = await caller.principal()
            view = view_of(scope, principal)
            key = (principal.tenant_id, principal.grants, principal.limits, view, cursor, version)
            page = self._pages.get(key)
            if page is None:
                page = self._pages[key] = self._made(Requester(principal, view), cursor, version)
        except (Unauthenticated, MCPError):
            return None
        self._pages.move_to_end(key)
        if len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return b'{"jsonrpc":"2.0","id":' + orjson.dumps(request_id) + b',"result":' + page + b"}"

    def _made(self, requester: Requester, cursor: str | None, version: str) -> bytes:
        page = self._lists.page_for(requester, cursor).model_dump(
            by_alias=True, mode="json", exclude_none=True
        )
        return orjson.dumps({**serialize_server_result(LIST, version, page), "_meta": self._stamp})

    async def _call(self, request_id: str | int, params: dict[str, Any], scope: Scope) -> bytes | None:
        caller: Caller = scope[SCOPE_KEY]
        try:
            principal = await caller.principal()
            requester = Requester(principal, view_of(scope, principal))
            entry = self._tools.get(requester, params["name"])
        except (NotFound, Unauthenticated):
            return None
        if not self._answers_at_once(entry):
            return None
        meta = params["_meta"]
        carrier = {TRACEPARENT: meta[TRACEPARENT]} if TRACEPARENT in meta else {}
        with continued(carrier, f"{METHOD} {entry.tool.name}"):
            try:
                outcome = await self._tools.call_found(requester, entry, params.get("arguments") or {})
            except PlatformError as error:
                return self._written(request_id, _failure(error))
        if outcome.blocks:
            shown = result_of(outcome).model_dump(by_alias=True, mode="json", exclude_none=True)
            return self._written(request_id, shown)
        return self._data(request_id, outcome.text)

    def _answers_at_once(self, entry: CatalogueEntry) -> bool:
        known = self._at_once.get(entry.tool.name)
        if known is None:
            tool = entry.tool
            plain = tool.task is TaskSupport.NEVER and tool.effect is not Effect.DESTRUCTIVE
            talks = tool.converses or tool.relays
            # Where a header mirrors an argument, the two must be compared.
            known = plain and not talks and not x_mcp_header_map(entry.input_schema)
            self._at_once[entry.tool.name] = known
        return known

    def _data(self, request_id: str | int, text: str) -> bytes:
        """As `_written` would have it; what is JSON already is not read and written again."""
        parts = (
            b'{"jsonrpc":"2.0","id":',
            orjson.dumps(request_id),
            b',"result":{"content":[{"type":"text","text":',
            orjson.dumps(text),
            b'}],"structuredContent":',
            text.encode(),
            self._ending,
        )
        return b"".join(parts)

    def _written(self, request_id: str | int, result: dict[str, Any]) -> bytes:
        stamped = {**result, "resultType": "complete", "_meta": self._stamp}
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": stamped})


def _failure(error: PlatformError) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": error_text(error)}], "isError": True}


def _is_plain(params: Any, known: frozenset[str]) -> TypeGuard[dict[str, Any]]:
    """Whether the request has the form that most have; any other is judged by the SDK."""
    if not isinstance(params, dict) or not params.keys() <= known:
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


def _has_beside(scope: Scope) -> bool:
    said: bool | None = scope.get(_BESIDE_KEY)
    if said is None:
        said = scope[_BESIDE_KEY] = has_beside(scope)
    return said

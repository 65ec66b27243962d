"""The short way of `tools/call`, `tools/list` and `ping`, in every revision: for tools that answer at once and talk to nobody.

It gives the same answers as the handlers behind the SDK's kernel, from the same operations, without building the SDK's models of the
request and of the result; `tests/integration/mcp_server/test_fast_calls.py` holds the two to each other. Whatever it does not know to
answer goes the long way.
"""

from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import orjson
import structlog
from mcp.server.connection import Connection
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import x_mcp_header_map
from mcp_types import INTERNAL_ERROR, SERVER_INFO_META_KEY
from mcp_types.methods import serialize_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from opentelemetry.trace import Span
from starlette.types import Scope

from devops_mcp.adapters.base import Effect, TaskSupport
from devops_mcp.models.errors import PlatformError, RateLimited
from devops_mcp.observability.tracing import TRACEPARENT, continued, spanned
from devops_mcp.operations.caller_rates import CallerRates
from devops_mcp.operations.catalogue import CatalogueEntry
from devops_mcp.operations.integrations import Integrations
from devops_mcp.operations.requester import Requester
from devops_mcp.operations.tools import ToolService
from mcp_server.caller import SCOPE_KEY, Caller, has_beside, view_of
from mcp_server.handlers.contents import result_of
from mcp_server.handlers.rates import too_often
from mcp_server.handlers.tools import ToolHandlers, failed
from mcp_server.plain_requests import LIST, PING, Plain, of_connection, standing_alone

PAGES = 500
"""So many different pages are kept."""
Answering: TypeAlias = Callable[[], Coroutine[Any, Any, bytes]]
"""Answers a request with a whole JSON-RPC message, and never raises but when it is cancelled."""
log = structlog.get_logger()


class _Page(NamedTuple):
    """A page of tools, as written where the tenant had integrations of these systems."""

    systems: Any
    body: bytes


class FastCalls:
    """Answers plain requests.

    `server_info` is what every result of 2026-07-28 is stamped with, `rates` how often a list may be asked for.
    """

    def __init__(
        self,
        tools: ToolService,
        lists: ToolHandlers,
        integrations: Integrations,
        server_info: dict[str, Any],
        rates: CallerRates | None,
    ) -> None:
        self._tools = tools
        self._rates = rates
        self._lists = lists
        self._integrations = integrations
        self._stamp = {SERVER_INFO_META_KEY: server_info}
        self._modern_ending = (
            b',"isError":false,"resultType":"complete","_meta":' + orjson.dumps(self._stamp) + b"}}"
        )
        self._at_once: dict[str, bool] = {}
        self._pages: OrderedDict[tuple[Any, ...], _Page] = OrderedDict()

    async def prepare(
        self, message: dict[str, Any], scope: Scope, connection: Connection | None = None
    ) -> Answering | None:
        """What answers the request; None when it must go the long way. Nothing has been done yet.

        `connection` is that of the handshake era, and None where requests stand alone.
        """
        caller: Caller = scope[SCOPE_KEY]
        if caller.at_hand() is None:
            try:
                await caller.principal()
            except PlatformError:
                return None
        return self.prepare_now(message, scope, connection)

    def prepare_now(
        self, message: dict[str, Any], scope: Scope, connection: Connection | None = None
    ) -> Answering | None:
        """As `prepare`, where nobody has to be asked who the caller is; else None."""
        plain = standing_alone(message) if connection is None else of_connection(message, connection)
        if plain is None:
            return None
        if plain.method == PING:
            return partial(_answered, plain.id, b"{}")
        caller: Caller = scope[SCOPE_KEY]
        principal = caller.at_hand()
        if principal is None:
            return None
        try:
            requester = Requester(principal, view_of(scope, principal))
            if plain.method == LIST:
                self._lists.require_cursor(requester, plain.params.get("cursor"))
                return partial(self._list, plain, requester)
            entry = self._tools.get(requester, plain.params["name"])
        except (PlatformError, MCPError):
            return None
        if not self._answers_at_once(entry) or has_beside(scope):
            return None
        return partial(self._call, plain, requester, entry)

    async def _list(self, plain: Plain, requester: Requester) -> bytes:
        try:
            if self._rates is not None:
                await self._rates.take(requester.principal)
            return await _answered(plain.id, self._page(plain, requester))
        except RateLimited as refusal:
            fault = too_often(refusal)
        except MCPError as error:  # what the cursor named has gone meanwhile
            fault = error.error
        return orjson.dumps(
            {"jsonrpc": "2.0", "id": plain.id, "error": fault.model_dump(mode="json", exclude_none=True)}
        )

    def _page(self, plain: Plain, requester: Requester) -> bytes:
        """A page as it was written the last time; it depends on rights, view and the tenant's systems. Raises `MCPError`.

        To write one takes a hundred times as long as to answer with it, and who asks chooses the view.
        """
        principal, cursor = requester.principal, plain.params.get("cursor")
        systems = self._integrations.systems(principal.tenant_id)
        key = (
            principal.tenant_id,
            principal.grants,
            principal.limits,
            requester.view,
            cursor,
            plain.version,
        )
        page = self._pages.get(key)
        if page is None or page.systems != systems:
            page = self._pages[key] = _Page(systems, self._written_page(plain, requester))
        self._pages.move_to_end(key)
        if len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return page.body

    def _written_page(self, plain: Plain, requester: Requester) -> bytes:
        page = self._lists.page_for(requester, plain.params.get("cursor"))
        return orjson.dumps(self._stamped(plain, _dumped(plain, page)))

    async def _call(self, plain: Plain, requester: Requester, entry: CatalogueEntry) -> bytes:
        try:
            with _span_of(plain):
                arguments = plain.params.get("arguments") or {}
                outcome = await self._tools.call_found(requester, entry, arguments)
                if outcome.blocks:
                    return self._written(plain, _dumped(plain, result_of(outcome)))
                return self._data(plain, outcome.text)
        except PlatformError as error:
            return self._written(plain, _dumped(plain, failed(error)))
        except Exception:  # the border to the protocol: every request is answered
            log.exception("short way failed", tool=entry.tool.name)
            fault = {"code": INTERNAL_ERROR, "message": "Internal server error"}
            return orjson.dumps({"jsonrpc": "2.0", "id": plain.id, "error": fault})

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

    def _data(self, plain: Plain, text: str) -> bytes:
        """As `_written` would have it; what is JSON already is not read and written again."""
        parts = (
            b'{"jsonrpc":"2.0","id":',
            orjson.dumps(plain.id),
            b',"result":{"content":[{"type":"text","text":',
            orjson.dumps(text),
            b'}],"structuredContent":',
            text.encode(),
            self._modern_ending if plain.version in MODERN_PROTOCOL_VERSIONS else b',"isError":false}}',
        )
        return b"".join(parts)

    def _written(self, plain: Plain, result: dict[str, Any]) -> bytes:
        return orjson.dumps({"jsonrpc": "2.0", "id": plain.id, "result": self._stamped(plain, result)})

    def _stamped(self, plain: Plain, result: dict[str, Any]) -> dict[str, Any]:
        if plain.version not in MODERN_PROTOCOL_VERSIONS:
            return result
        return {**result, "resultType": "complete", "_meta": {**result.get("_meta", {}), **self._stamp}}


async def _answered(request_id: str | int, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + orjson.dumps(request_id) + b',"result":' + result + b"}"


def _dumped(plain: Plain, result: Any) -> dict[str, Any]:
    """A result of the SDK's as the revision has it."""
    return serialize_server_result(
        plain.method, plain.version, result.model_dump(by_alias=True, mode="json", exclude_none=True)
    )


def _span_of(plain: Plain) -> AbstractContextManager[Span]:
    """The span of a call: in the trace that the client names, else in that of the request which brought it."""
    name = f"{plain.method} {plain.params['name']}"
    meta = plain.params.get("_meta", {})
    return continued(meta, name) if TRACEPARENT in meta else spanned(name)

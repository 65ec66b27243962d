"""2026-07-28 over one WebSocket: our own framing around the SDK's kernel, since every request stands alone.

Each request runs as a task of its own and is answered when it is done, in whatever order. `notifications/cancelled` ends one. What
plain requests need not, they go without: see `mcp_server.fast_calls`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import orjson
from mcp.server.connection import Connection
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.message import MessageMetadata, ServerMessageMetadata
from mcp.shared.transport_context import TransportContext

from mcp_server.transports.frames import is_request
from mcp_server.transports.under_way import CANCELLED
from mcp_server.transports.ws_line import Line

LISTEN = "subscriptions/listen"
_TRANSPORT = TransportContext(kind="websocket", can_send_request=False)


@dataclass(slots=True)
class _Exchange:
    """What the kernel is given of one request: a way for its notifications, and none for requests of ours."""

    request_id: types.RequestId
    send: Callable[[bytes], Awaitable[None]]
    message_metadata: MessageMetadata
    progress_token: types.ProgressToken | None = None
    transport: TransportContext = _TRANSPORT
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> None:
        message = {"jsonrpc": "2.0", "method": method} | ({"params": params} if params is not None else {})
        await self.send(orjson.dumps(message))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is None:
            return
        params: dict[str, Any] = {"progressToken": self.progress_token, "progress": progress}
        params |= {} if total is None else {"total": total}
        params |= {} if message is None else {"message": message}
        await self.notify("notifications/progress", params)


class StatelessLoop:
    """The messages of one connection."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def run(self, messages: AsyncIterator[dict[str, Any]]) -> None:
        """Answer until there are no more, or it is cancelled."""
        with self._line.beginning_at_once():
            async for message in messages:
                if is_request(message):
                    await self._begin(message)
                elif message.get("method") == CANCELLED:
                    self._line.under_way.cancel(message.get("params"))

    async def _begin(self, message: dict[str, Any]) -> None:
        if not await self._line.begin_plain(message):
            # A stream of subscriptions never ends by itself.
            is_endless = message["method"] == LISTEN
            self._line.under_way.run(message["id"], self._run(message), is_endless=is_endless)

    async def _run(self, message: dict[str, Any]) -> None:
        await self._line.send(await self._answer(message))

    async def _answer(self, message: dict[str, Any]) -> bytes:
        request_id, method, params = message["id"], message["method"], message.get("params")
        route = classify_inbound_request(message)
        if isinstance(route, InboundLadderRejection):
            return _error(request_id, route.code, route.message, route.data)
        if method == "initialize":  # another era's greeting; the kernel would take it for one
            return _error(request_id, types.METHOD_NOT_FOUND, "Method not found", method)
        connection = Connection.from_envelope(
            route.protocol_version, route.client_info, route.client_capabilities
        )
        exchange = _Exchange(
            request_id,
            self._line.send,
            ServerMessageMetadata(request_context=self._line.websocket),
            progress_token_from_params(params),
        )
        try:
            result = await serve_one(
                self._line.server, exchange, method, params, connection=connection, lifespan_state={}
            )
        except Exception as error:  # noqa: BLE001 - the border to the protocol: every request is answered
            fault = modern_error_data(error)
            return _error(request_id, fault.code, fault.message, fault.data)
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def _error(request_id: str | int, code: int, message: str, data: Any) -> bytes:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})

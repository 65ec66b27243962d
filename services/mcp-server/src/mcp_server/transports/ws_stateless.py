"""2026-07-28 over one WebSocket: our own framing around the SDK's kernel, since every request stands alone.

Each request runs as a task of its own and is answered when it is done, in whatever order. `notifications/cancelled` ends one. What the
plain calls of tools need not, they go without: see `mcp_server.fast_calls`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
import orjson
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.runner import modern_error_data, serve_one
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import InboundLadderRejection, classify_inbound_request
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params
from mcp.shared.message import MessageMetadata, ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from starlette.websockets import WebSocket

from mcp_server.fast_calls import FastCalls
from mcp_server.transports.frames import BadFrame, read_object

MAX_IN_FLIGHT = 64
TOO_MANY = -32000
Send = Callable[[str], Awaitable[None]]
_TRANSPORT = TransportContext(kind="websocket", can_send_request=False)


@dataclass(slots=True)
class _Exchange:
    """What the kernel is given of one request: a way for its notifications, and none for requests of ours."""

    request_id: types.RequestId
    send: Send
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
        await self.send(orjson.dumps(message).decode())

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        if self.progress_token is None:
            return
        params: dict[str, Any] = {"progressToken": self.progress_token, "progress": progress}
        params |= {} if total is None else {"total": total}
        params |= {} if message is None else {"message": message}
        await self.notify("notifications/progress", params)


class StatelessLoop:
    """The requests of one connection. `take` each frame; at the end, `close`."""

    def __init__(
        self, websocket: WebSocket, server: Server[dict[str, Any]], fast: FastCalls | None, send: Send
    ) -> None:
        self._websocket = websocket
        self._server = server
        self._fast = fast
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self.idle = asyncio.Event()
        """Set while nothing but streams of subscriptions is under way."""
        self.idle.set()
        self._waited_for: set[str | int] = set()

    async def take(self, raw: bytes) -> None:
        """Begin what a frame asks for."""
        try:
            message = read_object(raw)
        except BadFrame as fault:
            await self._send(fault.answer.model_dump_json(by_alias=True, exclude_unset=True))
            return
        if "method" not in message:
            return  # an answer, where nothing was asked
        if "id" in message:
            await self._begin(message)
        elif message["method"] == "notifications/cancelled":
            self._cancel(message.get("params"))

    async def close(self) -> None:
        """End whatever is under way."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _begin(self, message: dict[str, Any]) -> None:
        request_id = message["id"]
        if request_id in self._running:
            await self._refuse(request_id, types.INVALID_REQUEST, "the id is that of a request under way")
            return
        if len(self._running) >= MAX_IN_FLIGHT:
            await self._refuse(request_id, TOO_MANY, f"{MAX_IN_FLIGHT} requests are under way; wait for one")
            return
        # A stream of subscriptions never ends by itself, so nobody waits for it.
        if message["method"] != "subscriptions/listen":
            self._waited_for.add(request_id)
            self.idle.clear()
        self._running[request_id] = self._loop.create_task(self._run(message))
        # One frame a turn of the loop: who sent sixty at once waits for the others' one.
        await asyncio.sleep(0)

    async def _run(self, message: dict[str, Any]) -> None:
        request_id = message["id"]
        try:
            answer = await self._fast.answer(message, self._websocket.scope) if self._fast else None
            await self._send((answer or await self._answer(message)).decode())
        finally:
            del self._running[request_id]
            self._waited_for.discard(request_id)
            if not self._waited_for:
                self.idle.set()

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
            self._send,
            ServerMessageMetadata(request_context=self._websocket),
            progress_token_from_params(params),
        )
        try:
            result = await serve_one(
                self._server, exchange, method, params, connection=connection, lifespan_state={}
            )
        except Exception as error:  # noqa: BLE001 - the border to the protocol: every request is answered
            fault = modern_error_data(error)
            return _error(request_id, fault.code, fault.message, fault.data)
        return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})

    def _cancel(self, params: Any) -> None:
        named = params.get("requestId") if isinstance(params, dict) else None
        task = self._running.get(named) if isinstance(named, str | int) else None
        if task is not None:
            task.cancel()

    async def _refuse(self, request_id: str | int, code: int, message: str) -> None:
        await self._send(_error(request_id, code, message, None).decode())


def _error(request_id: str | int, code: int, message: str, data: Any) -> bytes:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})

"""Streamable HTTP in front, our WebSocket behind: lets a client that speaks HTTP only be heard over the WebSocket transport.

What belongs to HTTP (headers that mirror the body, status codes, sessions) is done here with the SDK's own functions; every message goes
through a WebSocket, with the Host and Origin that the client sent.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    validate_mcp_param_headers,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from devops_mcp.config import ServerSettings
from devops_mcp.serving.server import listening

SESSION = "mcp-session-id"
MODERN = "2026-07-28"
HEADER_MISMATCH = -32020
TASK_METHODS = ("tasks/get", "tasks/update", "tasks/cancel")


class Resumable:
    """The events of one answer; who comes back with an event's id gets those behind it."""

    def __init__(self, frames: AsyncIterator[dict[str, Any]]) -> None:
        self.id = uuid4().hex
        self._frames: list[dict[str, Any]] = []
        self._ended = False
        self._more = asyncio.Condition()
        self._pumping = asyncio.create_task(self._pump(frames))

    async def events(self, begin: int = 0) -> AsyncIterator[str]:
        if begin == 0:
            yield f"id: {self.id}-0\nretry: 1000\ndata: \n\n"
        while await self._has(begin):
            begin += 1
            yield f"id: {self.id}-{begin}\n{_event(self._frames[begin - 1])}"

    async def _has(self, index: int) -> bool:
        async with self._more:
            await self._more.wait_for(lambda: self._ended or len(self._frames) > index)
        return len(self._frames) > index

    async def _pump(self, frames: AsyncIterator[dict[str, Any]]) -> None:
        async for frame in frames:
            async with self._more:
                self._frames.append(frame)
                self._more.notify_all()
        async with self._more:
            self._ended = True
            self._more.notify_all()


class Socket:
    """One WebSocket, whose answers are told apart by id; what is no answer goes to the request last sent, or to the session's stream."""

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws
        self.waiting: dict[Any, asyncio.Queue[dict[str, Any] | None]] = {}
        self.stream: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def send(self, message: Mapping[str, Any]) -> None:
        await self._ws.send(json.dumps(message))

    async def exchange(self, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The frames that follow a request, up to its answer."""
        queue = self.waiting[request["id"]] = asyncio.Queue()
        await self.send(request)
        try:
            while (frame := await queue.get()) is not None:
                yield frame
                if _answers(frame, request["id"]):
                    return
        finally:
            self.waiting.pop(request["id"], None)

    async def close(self) -> None:
        self._reading.cancel()
        await self._ws.close()

    async def _read(self) -> None:
        try:
            async for raw in self._ws:
                frame = json.loads(raw)
                answered = self.waiting.get(frame.get("id")) if "method" not in frame else None
                (answered or self._asked_last() or self.stream).put_nowait(frame)
        except ConnectionClosed:
            pass
        for queue in (*self.waiting.values(), self.stream):
            queue.put_nowait(None)

    def _asked_last(self) -> asyncio.Queue[dict[str, Any] | None] | None:
        return next(reversed(self.waiting.values()), None)


class Bridge:
    """The HTTP side."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._sessions: dict[str, Socket] = {}
        self._answers: dict[str, Resumable] = {}
        self._schemas: dict[str, Any] = {}

    async def endpoint(self, request: Request) -> Response:
        if request.method == "DELETE":
            return await self._delete(request)
        try:
            if request.method == "GET":
                return self._listen(request)
            return await self._post(request, await request.json())
        except InvalidStatus as refused:
            return Response(bytes(refused.response.body), refused.response.status_code)

    async def close(self) -> None:
        for socket in self._sessions.values():
            await socket.close()

    async def _post(self, request: Request, body: Any) -> Response:
        if request.headers.get("mcp-protocol-version") == MODERN or _has_envelope(body):
            return await self._modern(request, body)
        known = request.headers.get(SESSION)
        if known is None:
            if body.get("method") != "initialize":
                return _error(body.get("id"), -32600, "there is no session", 400)
            known = uuid4().hex
            self._sessions[known] = Socket(await self._connect(request))
        socket = self._sessions.get(known)
        if socket is None:
            return _error(body.get("id"), -32001, "there is no such session", 404)
        if "method" not in body or "id" not in body:
            await socket.send(body)
            return Response(status_code=202)
        answer = Resumable(socket.exchange(body))
        self._answers[answer.id] = answer
        return StreamingResponse(answer.events(), headers=_stream_headers(known))

    async def _modern(self, request: Request, body: Any) -> Response:
        rejection = await self._rejection(request, body)
        if rejection is not None:
            status = ERROR_CODE_HTTP_STATUS.get(rejection.code, 400)
            return _error(body.get("id"), rejection.code, rejection.message, status, rejection.data)
        socket = await self._stateless(request, body)
        if "id" not in body:
            await socket.send(body)
            await socket.close()
            return Response(status_code=202)
        frames = socket.exchange(body)
        first = await anext(frames)
        if _answers(first, body["id"]):
            await socket.close()
            return JSONResponse(first, _status(first))
        return StreamingResponse(_events(frames, first, socket), headers=_stream_headers(None))

    async def _rejection(self, request: Request, body: Any) -> InboundLadderRejection | None:
        verdict = classify_inbound_request(body, headers=dict(request.headers))
        if isinstance(verdict, InboundLadderRejection):
            return verdict
        params = body.get("params", {})
        if body.get("method") in TASK_METHODS and request.headers.get("mcp-name") != params.get("taskId"):
            return InboundLadderRejection(HEADER_MISMATCH, "mcp-name does not name the body's task")
        if body.get("method") != "tools/call":
            return None
        schema = (await self._tool_schemas(request, body)).get(params.get("name"))
        return (
            validate_mcp_param_headers(schema, params.get("arguments") or {}, request.headers)
            if schema
            else None
        )

    async def _tool_schemas(self, request: Request, body: Any) -> dict[str, Any]:
        if not self._schemas:
            socket, cursor = await self._stateless(request, body), None
            while True:
                params = {"_meta": body["params"]["_meta"]} | ({"cursor": cursor} if cursor else {})
                listing = {"jsonrpc": "2.0", "id": "list", "method": "tools/list", "params": params}
                [frame] = [frame async for frame in socket.exchange(listing)]
                self._schemas |= {tool["name"]: tool["inputSchema"] for tool in frame["result"]["tools"]}
                if (cursor := frame["result"].get("nextCursor")) is None:
                    break
            await socket.close()
        return self._schemas

    async def _stateless(self, request: Request, body: Any) -> Socket:
        """A connection whose era is settled, whatever the request to come looks like."""
        socket = Socket(await self._connect(request))
        meta = {"_meta": body["params"]["_meta"]}
        discover = {"jsonrpc": "2.0", "id": "era", "method": "server/discover", "params": meta}
        async for _ in socket.exchange(discover):
            pass
        return socket

    def _listen(self, request: Request) -> Response:
        known = request.headers.get(SESSION, "")
        socket = self._sessions.get(known)
        if socket is None:
            return Response(status_code=405 if not known else 404)
        token, _, seen = request.headers.get("last-event-id", "").partition("-")
        if (answer := self._answers.get(token)) is not None:
            return StreamingResponse(answer.events(int(seen)), headers=_stream_headers(known))
        return StreamingResponse(_events(_taken(socket.stream)), headers=_stream_headers(known))

    async def _delete(self, request: Request) -> Response:
        socket = self._sessions.pop(request.headers.get(SESSION, ""), None)
        if socket is None:
            return Response(status_code=405 if SESSION not in request.headers else 404)
        await socket.close()
        return Response(status_code=200)

    async def _connect(self, request: Request) -> ClientConnection:
        path = request.url.path.replace("/mcp", "/ws", 1)
        headers = {"Authorization": f"Bearer {self._key}"}
        return await connect(
            f"ws://{request.headers['host']}{path}",
            host="127.0.0.1",
            port=self._port,
            origin=request.headers.get("origin"),
            additional_headers=headers,
            subprotocols=["mcp"],  # type: ignore[list-item]
            max_size=None,
        )


@asynccontextmanager
async def websocket_bridge(port: int, key: str) -> AsyncIterator[int]:
    """Forward to the WebSocket of `127.0.0.1:port` with `key`; yields the bridge's port."""
    bridge = Bridge(port, key)
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/mcp{rest:path}", bridge.endpoint, methods=methods)])
    try:
        async with listening(app, ServerSettings(host="127.0.0.1", port=0)) as bound:
            yield bound
    finally:
        await bridge.close()


async def _events(
    frames: AsyncIterator[dict[str, Any]], first: dict[str, Any] | None = None, socket: Socket | None = None
) -> AsyncIterator[str]:
    try:
        if first is not None:
            yield _event(first)
        async for frame in frames:
            yield _event(frame)
    finally:
        if socket is not None:
            await socket.close()


async def _taken(queue: asyncio.Queue[dict[str, Any] | None]) -> AsyncIterator[dict[str, Any]]:
    while (frame := await queue.get()) is not None:
        yield frame


def _event(frame: Mapping[str, Any]) -> str:
    return f"event: message\ndata: {json.dumps(frame)}\n\n"


def _stream_headers(session: str | None) -> dict[str, str]:
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
    return headers | ({SESSION: session} if session else {})


def _answers(frame: Mapping[str, Any], request_id: Any) -> bool:
    return "method" not in frame and frame.get("id") == request_id


def _status(frame: Mapping[str, Any]) -> int:
    error = frame.get("error")
    return ERROR_CODE_HTTP_STATUS.get(error["code"], 200) if error else 200


def _has_envelope(body: Any) -> bool:
    params = body.get("params") if isinstance(body, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and "io.modelcontextprotocol/protocolVersion" in meta


def _error(request_id: Any, code: int, message: str, status: int, data: Any = None) -> Response:
    error = {"code": code, "message": message} | ({"data": data} if data is not None else {})
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error}, status)

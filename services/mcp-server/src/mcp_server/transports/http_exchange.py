"""One HTTP request that carries the protocol, and the plain answers to it."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.streamable_http import check_accept_headers
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from devops_mcp.models.errors import InvalidInput, PlatformError, Unauthenticated
from devops_mcp.models.principals import Principal
from devops_mcp.serving import problems
from devops_mcp.serving.surface import recorded
from mcp_server.caller import SCOPE_KEY, Caller, Entrance
from mcp_server.plain_requests import CALL
from mcp_server.transports.frames import BadFrame, error_to, read_frame, written
from mcp_server.transports.http_streams import Reader

SESSION_ID = "mcp-session-id"
FORWARDED = "devops_mcp.forwarded"
"""Key in the scope of a request that another replica received: it is served here or nowhere."""
CHECKED_S = 3.0
"""How often an open stream asks whether its credential still holds."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request whose caller is known and whose body has been read: `message` is what it says, None without a body."""

    scope: Scope
    receive: Receive
    send: Send
    principal: Principal
    body: bytes
    message: types.JSONRPCMessage | None
    session_id: str | None

    @property
    def request(self) -> Request:
        """What handlers are given to know the caller by."""
        return Request(self.scope, self.receive)

    @property
    def request_id(self) -> str | int | None:
        """The id under which the client waits for an answer."""
        return self.message.id if isinstance(self.message, types.JSONRPCRequest) else None

    @property
    def is_forwarded(self) -> bool:
        return FORWARDED in self.scope

    def accepts(self) -> tuple[bool, bool]:
        """Whether the client takes JSON, and server-sent events."""
        return check_accept_headers(self.request)

    async def until_revoked(self) -> None:
        """Return when the caller's credential no longer holds, or may less than when it came."""
        caller: Caller = self.scope[SCOPE_KEY]
        while True:
            await asyncio.sleep(CHECKED_S)
            try:
                if await caller.may_less():
                    return
            except Unauthenticated:
                return
            except PlatformError:
                continue

    @contextmanager
    def closing_when_revoked(self, reader: Reader) -> Iterator[None]:
        """Send the reader away when the caller's credential no longer holds."""

        async def watch() -> None:
            await self.until_revoked()
            reader.close()

        watching = asyncio.create_task(watch(), name="stream credential")
        try:
            yield
        finally:
            watching.cancel()

    async def respond_json(self, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        """A document, without the detour over a response that would say the same."""
        told = [
            (b"content-length", str(len(body)).encode()),
            (b"content-type", b"application/json"),
            *headers,
        ]
        await self.send({"type": "http.response.start", "status": 200, "headers": told})
        await self.send({"type": "http.response.body", "body": body})

    async def respond(self, response: Response) -> None:
        await response(self.scope, self.receive, self.send)

    async def or_problem(self, answering: Awaitable[None]) -> None:
        """Answer; an error of ours, which comes before the answer begins, with its problem document."""
        try:
            await answering
        except PlatformError as error:
            await self.respond(problems.of_error(error, self.scope["state"]["request_id"]))

    async def refuse(self, status: int, message: str, code: int = types.INVALID_REQUEST) -> None:
        """A JSON-RPC error with the status."""
        await self.respond(rpc_error(status, code, message, self.request_id))


async def open_exchange(
    entrance: Entrance, scope: Scope, receive: Receive, send: Send, session_id: str | None
) -> Exchange | None:
    """The exchange with its caller known and its body read; None when it has been refused, or the client left."""
    try:
        principal = await entrance.admit(scope, Headers(scope=scope))
    except PlatformError as error:
        await problems.of_error(error, scope["state"]["request_id"])(scope, receive, send)
        return None
    body, message = b"", None
    if scope["method"] == "POST":
        try:
            body = await _body(receive)
            message = read_frame(body)
        except BadFrame as fault:
            await rpc_answer(fault.answer, 400)(scope, receive, send)
            return None
        except ClientDisconnect:
            return None
        if isinstance(message, types.JSONRPCRequest) and message.method == CALL:
            recorded(scope)
    exchange = Exchange(scope, receive, send, principal, body, message, session_id)
    try:
        entrance.lay_out(scope)
    except InvalidInput as error:
        await exchange.refuse(400, error.message, types.INVALID_PARAMS)
        return None
    return exchange


async def _body(receive: Receive) -> bytes:
    """The whole of a request's body; raises `ClientDisconnect`."""
    parts: list[bytes] = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    raise ClientDisconnect


def rpc_error(status: int, code: int, message: str, request_id: str | int | None = None) -> Response:
    return rpc_answer(error_to(request_id, types.ErrorData(code=code, message=message)), status)


def rpc_answer(message: types.JSONRPCMessage, status: int = 200) -> Response:
    return Response(written(message), status, media_type="application/json")


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


def session_header(session_id: str) -> list[tuple[bytes, bytes]]:
    return [(SESSION_ID.encode(), session_id.encode())]


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of that name."""
    values: list[Any] = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if values else None

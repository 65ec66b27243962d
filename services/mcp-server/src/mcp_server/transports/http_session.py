"""One session of the handshake era over HTTP: the SDK's loop, and the streams of what it says.

The session lives here, in one process. What it says goes to the stream of the request it belongs to, or to the session's own; each
message is also kept in the log, from which a client that was cut off is given what it missed.
"""

import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_loop
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from starlette.requests import Request

from devops_mcp.cache.message_log import MessageLog, Positions
from devops_mcp.cache.sessions import SessionRecord
from devops_mcp.models.base import JsonObject
from mcp_server.transports.http_streams import STANDALONE, Outgoing, Stream, name_of

IN_FLIGHT = 64
RESUMABLE_SINCE = "2025-11-25"
"""Older clients cannot read the event that says where a stream begins."""
_CANCELLED = -32800
_KEPT_REQUESTS = 128
_INBOUND = 16


class Session:
    """Takes a client's messages and keeps what is said to it. `run` serves until `end`."""

    def __init__(
        self,
        session_id: str,
        record: SessionRecord,
        positions: Positions,
        log: MessageLog | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = session_id
        self.record = record
        self.saved = False
        """Whether Redis has the record as it is now."""
        self.standalone = Stream(STANDALONE)
        self.requests: dict[str, Stream] = {}
        self.positions = positions
        self.log = log
        self._monotonic = monotonic
        self._used_at = monotonic()
        self._to_server, self._inbound = create_context_streams[SessionMessage | Exception](_INBOUND)
        # A session that was rebuilt must not take the answer to its predecessor's question for the answer to its own.
        self._first_question = secrets.randbelow(2**20) * 2**10
        self._ended = False

    @property
    def version(self) -> str:
        """The revision that was agreed on."""
        asked = self.record.began_with.get("protocolVersion")
        return str(asked) if asked in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION

    @property
    def resumable(self) -> bool:
        return self.log is not None and self.version >= RESUMABLE_SINCE

    def touch(self) -> None:
        self._used_at = self._monotonic()

    def idle_s(self) -> float:
        """Seconds since anything was asked or listened for."""
        if self.requests or self.standalone.is_read:
            self.touch()
        return self._monotonic() - self._used_at

    async def run(self, server: Server[dict[str, Any]]) -> None:
        try:
            await serve_loop(server, self._inbound, _Outbound(self), lifespan_state={}, session_id=self.id)
        finally:
            self.end()
            for stream in self.requests.values():
                stream.end()

    def end(self) -> None:
        """What is under way is answered with an error; readers go when they have read that."""
        self._ended = True
        self._to_server.close()
        self.standalone.end()

    async def take(self, message: types.JSONRPCMessage, request: Request) -> None:
        """Hand a notification or an answer to the server."""
        answer = self._numbered_as_asked(message)
        if answer is not None and not self._ended:
            await self._to_server.send(SessionMessage(answer, ServerMessageMetadata(request_context=request)))

    async def ask(self, message: types.JSONRPCRequest, request: Request, *, answers: bool = True) -> Stream:
        """Hand a request to the server; its stream. `answers`: whether the client could answer a question on it."""
        name = name_of(message.id)
        stream = self.requests[name] = Stream(name)

        async def unanswered() -> None:
            error = types.ErrorData(code=_CANCELLED, message="the request was cancelled")
            self.say(SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=error)))

        async def close_stream() -> None:
            stream.release()

        async def close_standalone() -> None:
            self.standalone.release()

        metadata = ServerMessageMetadata(
            request_context=request,
            on_request_unanswered=unanswered,
            can_send_request=answers,
            close_sse_stream=close_stream if self.resumable else None,
            close_standalone_sse_stream=close_standalone if self.resumable else None,
        )
        if self._ended:
            stream.end()
        else:
            await self._to_server.send(SessionMessage(message, metadata))
        return stream

    def say(self, said: SessionMessage) -> None:
        """Bring a message of the server to its stream and the log."""
        final = isinstance(said.message, types.JSONRPCResponse | types.JSONRPCError)
        name = self._stream_name(said)
        body = self._numbered_apart(said.message).model_dump_json(by_alias=True, exclude_unset=True).encode()
        message = Outgoing(self.positions.next(), body, final)
        if self.log is not None:
            self.log.append(self.id, message.position, name, body)
        stream = self.standalone if name == STANDALONE else self.requests.get(name)
        if final:
            self.requests.pop(name, None)
        if stream is not None:
            stream.put(message)

    def remember(self, message: types.JSONRPCRequest) -> bool:
        """Note a request that changes what the session is; whether it does."""
        since = {_subject(request): request for request in self.record.since}
        request: JsonObject = {"method": message.method, "params": message.params or {}}
        if message.method in ("resources/subscribe", "logging/setLevel"):
            since[_subject(request)] = request
        elif message.method == "resources/unsubscribe":
            since.pop(_subject({**request, "method": "resources/subscribe"}), None)
        else:
            return False
        kept = tuple(since.values())[:_KEPT_REQUESTS]
        self.record = self.record.model_copy(update={"since": kept})
        self.saved = False
        return True

    def _stream_name(self, said: SessionMessage) -> str:
        message = said.message
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            return name_of(message.id) if message.id is not None else STANDALONE
        related = (
            said.metadata.related_request_id if isinstance(said.metadata, ServerMessageMetadata) else None
        )
        return name_of(related) if related is not None else STANDALONE

    def _numbered_apart(self, message: types.JSONRPCMessage) -> types.JSONRPCMessage:
        """Our questions, and their cancellation, under numbers that no other process of this session used."""
        if isinstance(message, types.JSONRPCRequest) and isinstance(message.id, int):
            return message.model_copy(update={"id": message.id + self._first_question})
        if isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            params = message.params or {}
            if isinstance(asked := params.get("requestId"), int):
                return message.model_copy(
                    update={"params": {**params, "requestId": asked + self._first_question}}
                )
        return message

    def _numbered_as_asked(self, message: types.JSONRPCMessage) -> types.JSONRPCMessage | None:
        """The message with the number that the server gave its question; None for an answer to what was not asked here."""
        if not isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            return message
        if not isinstance(message.id, int) or message.id <= self._first_question:
            return None
        return message.model_copy(update={"id": message.id - self._first_question})


class OneStreamSession(Session):
    """A session whose client reads everything from one stream, which is the connection: when it cannot keep up, it ends."""

    def say(self, said: SessionMessage) -> None:
        if (
            isinstance(said.message, types.JSONRPCResponse | types.JSONRPCError)
            and said.message.id is not None
        ):
            self.requests.pop(name_of(said.message.id), None)
        body = self._numbered_apart(said.message).model_dump_json(by_alias=True, exclude_unset=True).encode()
        self.standalone.put(Outgoing(self.positions.next(), body, final=False))
        if self.standalone.overflowed:
            self.standalone.release()


class _Outbound:
    """The stream that the SDK's loop writes to; nothing waits, and nothing is copied."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def send(self, item: SessionMessage, /) -> None:
        self._session.say(item)

    async def aclose(self) -> None:
        """The loop is over; `Session.run` ends the streams."""

    async def __aenter__(self) -> "_Outbound":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        return None


def _subject(request: dict[str, Any]) -> tuple[str, str]:
    return str(request["method"]), str(request["params"].get("uri", ""))

"""One session of the handshake era over HTTP: plain requests by the short way, every other message by the SDK's loop; and its streams.

The session lives here, in one process. What it says goes to the stream of the request it belongs to, or to the session's own. What a
stream says whose client knows that it can come again for it is also kept in the log, from which it is given what it missed.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from starlette.requests import Request

from devops_mcp.cache.message_log import MessageLog, Positions
from devops_mcp.cache.sessions import SessionRecord
from devops_mcp.models.base import JsonObject
from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.transports.frames import error_to, written
from mcp_server.transports.http_streams import STANDALONE, Outgoing, Stream, name_of
from mcp_server.transports.sdk_loop import SdkLoop
from mcp_server.transports.under_way import CANCELLED, TOO_MANY, UnderWay

RESUMABLE_SINCE = "2025-11-25"
"""Older clients cannot read the event that says where a stream begins."""
_WAS_CANCELLED = types.ErrorData(code=-32800, message="the request was cancelled")
"""Said, as the SDK says it, where a request has an HTTP answer of its own: a client comes again for one that ends without a response."""
_WAS_CLOSED = types.ErrorData(code=types.CONNECTION_CLOSED, message="Connection closed")
_REMEMBERED = frozenset({"resources/subscribe", "resources/unsubscribe", "logging/setLevel"})
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
        fast: FastCalls | None,
        save: Callable[["Session"], Awaitable[None]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = session_id
        self.record = record
        self.saved = False
        """Whether Redis has the record as it is now."""
        self.standalone = Stream(STANDALONE)
        self.standalone.is_kept = True
        self.requests: dict[str, Stream] = {}
        self.positions = positions
        self.log = log
        self._monotonic = monotonic
        self._used_at = monotonic()
        self._fast = fast
        self._save = save
        self._changing: dict[str, JsonObject] = {}
        """Requests under way that, when they succeed, change what the session is."""
        self._sdk = SdkLoop(self._said, session_id=session_id, waiting=_INBOUND)
        self._under_way = UnderWay()
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
            await self._sdk.run(server)
        finally:
            self.end()
            await self._under_way.close()
            for stream in self.requests.values():
                stream.end()

    def end(self) -> None:
        """What is under way is answered with an error; readers go when they have read that."""
        self._ended = True
        self._sdk.close()
        self.standalone.end()

    async def finished(self) -> None:
        """Return when no request that will be answered is under way."""
        await self._under_way.idle.wait()

    async def take(self, message: types.JSONRPCMessage, request: Request) -> None:
        """Hand a notification or an answer to the server."""
        if isinstance(message, types.JSONRPCNotification) and message.method == CANCELLED:
            self._under_way.cancel(message.params)
        if not self._ended:
            await self._sdk.tell(SessionMessage(message, ServerMessageMetadata(request_context=request)))

    def refusal(self, request_id: str | int) -> tuple[int, types.ErrorData] | None:
        """Why a request of that id cannot begin now, with the HTTP status that says so; None where it can."""
        fault = self._under_way.refusal(request_id)
        return None if fault is None else (429 if fault.code == TOO_MANY else 400, fault)

    async def ask(self, message: types.JSONRPCRequest, request: Request, *, answers: bool = True) -> Stream:
        """Begin to answer a request; its stream. `answers`: whether the client could answer a question on it."""
        name = name_of(message.id)
        stream = self.requests[name] = Stream(name)
        self._under_way.begin(message.id)
        answering = await self._prepared(message, request)
        if self._ended:
            self._under_way.ended(message.id)
            stream.end()
        elif answering is not None:
            cancelled = partial(self._cancelled, message.id)
            self._under_way.run(message.id, self._answer(message.id, answering), when_cancelled=cancelled)
        else:
            if self.record.lasting and message.method in _REMEMBERED:
                self._changing[name] = {"method": message.method, "params": message.params or {}}
            await self._sdk.tell(
                SessionMessage(message, self._metadata(message.id, stream, request, answers))
            )
        return stream

    async def _prepared(self, message: types.JSONRPCRequest, request: Request) -> Answering | None:
        if self._fast is None:
            return None
        said = {"id": message.id, "method": message.method, "params": message.params or {}}
        return await self._fast.prepare(said, request.scope, self._sdk.connection)

    async def _answer(self, request_id: str | int, answering: Answering) -> None:
        self._put(name_of(request_id), await answering(), final=True)

    def _cancelled(self, request_id: str | int) -> None:
        self._under_way.ended(request_id)
        self._changing.pop(name_of(request_id), None)
        self._fail(request_id, _WAS_CLOSED if self._ended else _WAS_CANCELLED)

    def _metadata(
        self, request_id: str | int, stream: Stream, request: Request, answers: bool
    ) -> ServerMessageMetadata:
        async def unanswered() -> None:
            self._cancelled(request_id)

        async def close_stream() -> None:
            stream.release()

        async def close_standalone() -> None:
            self.standalone.release()

        return ServerMessageMetadata(
            request_context=request,
            on_request_unanswered=unanswered,
            can_send_request=answers,
            close_sse_stream=close_stream if self.resumable else None,
            close_standalone_sse_stream=close_standalone if self.resumable else None,
        )

    def keep(self, stream: Stream, *said: Outgoing) -> None:
        """Keep what the stream has said and will say: from now on its client knows that it can come again for it."""
        stream.is_kept = True
        if self.log is not None:
            for message in (*said, *stream.waiting):
                self.log.append(
                    self.id, self.record.principal_id, message.position, stream.name, message.body
                )

    async def _said(self, said: SessionMessage) -> None:
        """Bring a message of the SDK's loop to its stream."""
        message = said.message
        answer = message if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) else None
        if answer is not None and answer.id is not None:
            await self._note_change(answer)
        self._put(self._stream_name(said), written(message).encode(), final=answer is not None)
        if answer is not None and answer.id is not None:
            self._under_way.ended(answer.id)

    def _fail(self, request_id: str | int, error: types.ErrorData) -> None:
        self._put(name_of(request_id), written(error_to(request_id, error)).encode(), final=True)

    def _put(self, name: str, body: bytes, *, final: bool) -> None:
        """Bring a message to its stream, and to the log."""
        message = Outgoing(self.positions.next(), body, final)
        stream = self.standalone if name == STANDALONE else self.requests.get(name)
        if self.log is not None and (stream is None or stream.is_kept):
            self.log.append(self.id, self.record.principal_id, message.position, name, body)
        if final:
            self.requests.pop(name, None)
        if stream is not None:
            stream.put(message)

    async def _note_change(self, answer: types.JSONRPCResponse | types.JSONRPCError) -> None:
        """What the session must be told again, should it be rebuilt, is written before its client hears that it is done."""
        assert answer.id is not None
        request = self._changing.pop(name_of(answer.id), None)
        if request is not None and isinstance(answer, types.JSONRPCResponse) and self._remember(request):
            await self._save(self)

    def _remember(self, request: JsonObject) -> bool:
        """Whether the request makes the session another than the record says."""
        since = {_subject(known): known for known in self.record.since}
        if request["method"] == "resources/unsubscribe":
            since.pop(_subject({**request, "method": "resources/subscribe"}), None)
        else:
            since[_subject(request)] = request
        kept = tuple(since.values())[:_KEPT_REQUESTS]
        if kept == self.record.since:
            return False
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


class OneStreamSession(Session):
    """A session whose client reads everything from one stream, which is the connection: when it cannot keep up, it ends.

    What the client cancelled is not answered.
    """

    def _cancelled(self, request_id: str | int) -> None:
        self._under_way.ended(request_id)
        self.requests.pop(name_of(request_id), None)

    def _put(self, name: str, body: bytes, *, final: bool) -> None:
        if final:
            self.requests.pop(name, None)
        self.standalone.put(Outgoing(self.positions.next(), body, final=False))
        if self.standalone.overflowed:
            self.standalone.release()


def _subject(request: dict[str, Any]) -> tuple[str, str]:
    return str(request["method"]), str(request["params"].get("uri", ""))

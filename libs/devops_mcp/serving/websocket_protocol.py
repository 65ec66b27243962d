"""uvicorn's sans-I/O WebSocket protocol with what it lacks: a deadline for each message, a limit of fragments, and a short way.

The short way is for an application that reads and writes thousands of small messages a second: see `Frames`. Leans on internals of the
uvicorn and websockets pinned in pyproject.toml; the tests of S02 to S04 are its guard. See docs/decisions/0005.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState, PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from devops_mcp.serving.gate import Gate

HELD_BYTES = 65_536
"""So much is gathered within a turn of the loop before it is written."""
MAX_WAITING = 8
"""So many messages wait for the application before no more are read, and fewer where one is as large as `HELD_BYTES`."""
MAX_OFFERED = 16_384
"""Bytes of a message that is offered before it is read in its turn: what is not taken is looked at twice."""
FRAMES = "devops_mcp.frames"
"""In the extensions of a WebSocket's scope: its `Frames`."""


class Frames(Protocol):
    """The messages of a WebSocket that was accepted, without the events that ASGI makes of them."""

    @property
    def waiting(self) -> bool:
        """Whether there is something to take at once."""
        ...

    async def next_message(self) -> bytes | None:
        """The next whole message, text as UTF-8; None when the client has gone, and then this is not to be asked again."""
        ...

    def offer(self, take: Callable[[bytes], bool] | None) -> None:
        """From now on ask `take` first whether it takes a message, as soon as it has come; what it does not take `next_message` gives.

        Offered is only what is small, while `next_message` is awaited; of what comes together, the first. So messages keep their order.
        """
        ...

    async def send_text(self, data: bytes) -> None:
        """Send a message of text in UTF-8, once the client has read enough of the others. Who has gone hears it no more."""
        ...


class HardenedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket, from the handshake on."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        gate: Gate,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._gate = gate
        self._inbox = _Inbox(self.loop)
        self.queue = cast("asyncio.Queue[ASGIReceiveEvent]", self._inbox)
        self._take: Callable[[bytes], bool] | None = None
        self._delivered = False
        self._unwritten = 0
        self.conn.parser.close()  # else it and its connection hold each other until a collection of everything
        self.conn = _BoundedServer(config.ws_max_size, gate.limits.websocket_fragments)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated and not self.handshake_complete:
            # No client may speak before our 101, and the parser cannot fail a connection that is not open.
            self._gate.count("early_frames")
            self.transport.abort()
            return
        self._delivered = False
        super().data_received(data)
        self._watch_message()

    async def run_asgi(self) -> None:
        application = self.app

        async def to_the_end(scope: Any, receive: Any, send: Any) -> None:
            try:
                await application(scope, receive, send)
            finally:
                self._flush()  # who returns is hung up on, and what it said before is to arrive
                if self.initial_response is not None:
                    self.handshake_complete = True  # by a refusal; else that is logged as a fault of ours

        self.app = to_the_end
        cast("dict[str, Any]", self.scope.setdefault("extensions", {}))[FRAMES] = self
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does; but what is said within one turn of the loop goes out in one write at its end.

        A write of its own for each answer, and the waking of its reader, costs as much as the rest of a small call.
        """
        if message["type"] != "websocket.send" or not self._is_open():
            await super().send(message)
            return
        if not self.writable.is_set():
            await self.writable.wait()
        if self.disconnected:
            raise ClientDisconnected
        text = message.get("text")
        data = text.encode() if text is not None else message.get("bytes") or b""
        try:
            (self.conn.send_binary if text is None else self.conn.send_text)(data)
        except InvalidState:
            raise ClientDisconnected from None
        self._write_soon(len(data))

    async def send_text(self, data: bytes) -> None:
        if not self.writable.is_set():
            await self.writable.wait()
        if self._is_open() and not self.disconnected and self.conn.state is State.OPEN:
            self.conn.writes += (_head_of_text(len(data)), data)
            self._write_soon(len(data))

    def _write_soon(self, size: int) -> None:
        if not self._unwritten:
            self.loop.call_soon(self._flush)
        self._unwritten += size or 1
        if self._unwritten > HELD_BYTES:
            self._flush()  # so that the transport can say when its reader is slow

    @property
    def waiting(self) -> bool:
        return not self.queue.empty()

    async def next_message(self) -> bytes | None:
        event: Any = await super().receive()
        return event.data if isinstance(event, _Whole) else None

    def offer(self, take: Callable[[bytes], bool] | None) -> None:
        self._take = take

    async def receive(self) -> ASGIReceiveEvent:
        event: Any = await super().receive()
        return event.as_event() if isinstance(event, _Whole) else event

    def _is_open(self) -> bool:
        return self.handshake_complete and not self.close_sent and self.initial_response is None

    def _flush(self) -> None:
        self._unwritten = 0
        output = self.conn.data_to_send()
        if output and not self.transport.is_closing():
            self.transport.write(b"".join(output))

    def _watch_message(self) -> None:
        unfinished = self.conn.current_size is not None or len(self.conn.reader.buffer) > 0
        if not unfinished or self.transport.is_closing():
            self._gate.messages.discard(self)
        elif self._delivered:
            self._gate.messages.restart(self)
        else:
            self._gate.messages.add(self)

    def receive_expired(self) -> bool:
        """Whether an unfinished message may go on: only where it is we who do not read."""
        if self.read_paused:
            return True
        if not self.transport.is_closing():
            self._fail(CloseCode.POLICY_VIOLATION, "message not complete in time")
        return False

    def abort(self) -> None:
        self.transport.abort()

    def give_up(self) -> None:
        """Tell a client that does not read why it is dropped; it has a moment to read so far."""
        if not self.close_sent:
            self.conn.send_close(CloseCode.TRY_AGAIN_LATER, "what was sent has not been read")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self._gate.closing.add(self)

    def send_receive_event_to_app(self) -> None:
        data = b"".join(self.frames)
        self.frames = []
        is_first, self._delivered = not self._delivered, True
        if self.close_sent:
            return
        is_text = self.curr_msg_data_type == "text"
        if is_text and not _is_utf8(data):
            self._fail(CloseCode.INVALID_DATA, "text is not UTF-8")
            return
        if (
            is_first
            and self._inbox.is_waited_at
            and len(data) <= MAX_OFFERED
            and self._take
            and self._take(data)
        ):
            return
        self._inbox.put_nowait(_Whole(data, is_text))
        is_much = len(data) > HELD_BYTES or self.queue.qsize() >= MAX_WAITING
        if is_much and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > self._gate.limits.websocket_unsent_bytes:
            self._gate.count("unread_pongs")
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        self._gate.count("websocket_fault")
        super().handle_parser_exception()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._gate.stalled.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._gate.stalled.discard(self)

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()


class _Whole:
    """A message that has come."""

    __slots__ = ("data", "is_text")

    def __init__(self, data: bytes, is_text: bool) -> None:
        self.data = data
        self.is_text = is_text

    def as_event(self) -> ASGIReceiveEvent:
        if self.is_text:
            return {"type": "websocket.receive", "text": self.data.decode()}
        return {"type": "websocket.receive", "bytes": self.data}


class _Inbox:
    """What waits for the application, its one reader, as far as uvicorn uses a queue."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._reader: asyncio.Future[None] | None = None
        self.is_waited_at = False
        """Whether there is a reader, and nothing for it."""

    def empty(self) -> bool:
        return not self._items

    def qsize(self) -> int:
        return len(self._items)

    def put_nowait(self, item: Any) -> None:
        self._items.append(item)
        self.is_waited_at = False
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._reader = self._loop.create_future()
            self.is_waited_at = True
            try:
                await self._reader
            finally:
                self.is_waited_at = False
        return self._items.popleft()


class _BoundedServer(ServerProtocol):
    """Counts the fragments of a message: empty ones never reach the limit of bytes."""

    def __init__(self, max_size: int, max_fragments: int) -> None:
        super().__init__(max_size=max_size, logger=logging.getLogger("uvicorn.error"))
        self._max_fragments = max_fragments
        self._fragments = 0

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
            if self._fragments > self._max_fragments:
                raise PayloadTooBig(self._fragments, self._max_fragments)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._fragments = 0
        super().recv_frame(frame)


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _head_of_text(size: int) -> bytes:
    """What comes before the text of a whole message of a server's, which is not masked (RFC 6455 §5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")

"""uvicorn's sans-I/O WebSocket protocol with what it lacks: a deadline for each message and a limit of fragments.

Leans on internals of the uvicorn pinned in pyproject.toml; the tests of S02 to S04 are its guard. See docs/decisions/0005.
"""

import logging
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.server import ServerProtocol

from devops_mcp.serving.gate import Gate


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
        self._delivered = False
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
        self._delivered = True
        if self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
        else:
            try:
                self.queue.put_nowait({"type": "websocket.receive", "text": data.decode()})
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "text is not UTF-8")
                return
        if not self.read_paused:
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

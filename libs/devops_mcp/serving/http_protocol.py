"""uvicorn's httptools protocol with what it lacks: deadlines, limits of the head, and a strict reading of it.

Leans on internals of the uvicorn pinned in pyproject.toml; the tests of H01, H04 and H09 are its guard. See docs/decisions/0005.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from devops_mcp.serving.gate import Gate
from devops_mcp.serving.one_write import OneWrite
from devops_mcp.serving.problems import CODE_BY_STATUS
from devops_mcp.serving.request_head import (
    FRAMING_WASTE,
    HEAD_TOO_LARGE,
    MALFORMED,
    TARGET_TOO_LONG,
    Fault,
    fault_in_head,
)

_MAX_FRAMING_PER_BYTE = 16


class _RefusedError(Exception):
    """Stops the parser; it arrives back wrapped in the parser's own error."""


class HardenedHttp(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        gate: Gate,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser: httptools.HttpRequestParser
        self._gate = gate
        self._fault: Fault | None = None
        self._deaf = False
        self._mid_request = False
        self._in_head = False
        # Since the request began, without the chunk in which it began.
        self._wire_bytes = 0
        self._body_bytes = 0
        self._body_bytes_rewarded = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._gate.make_room(len(self.connections))
        self._gate.receiving.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._wire_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse(self._fault or MALFORMED)
        else:
            if self._mid_request:
                self._bound_unfinished()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._mid_request = self._in_head = True
        self._wire_bytes = self._body_bytes = self._body_bytes_rewarded = 0
        self._gate.idle.discard(self)
        self._gate.receiving.add(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        # As uvicorn's own. Fields behind the body (trailers) would pass for headers although nothing checked them.
        if self._in_head:
            name, value = name.lower(), value.strip(b" \t")  # RFC 9110, 5.5: no part of the value
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._fault = self._fault_in_head()
        if self._fault is not None:
            raise _RefusedError
        self._in_head = False
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            self.cycle.transport = cast("asyncio.Transport", OneWrite(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._mid_request = False
        self._gate.receiving.discard(self)
        super().on_message_complete()
        cycle = self._cycle()
        if cycle is not None and cycle.response_complete:
            self._gate.idle.add(self)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._gate.closing.add(self)
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._mid_request:
            self._gate.idle.add(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._gate.stalled.add(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._gate.stalled.discard(self)

    def abort(self) -> None:
        self.transport.abort()

    def give_up(self) -> None:
        self.transport.abort()

    def receive_expired(self) -> bool:
        """Whether a request that is not complete in time may go on: only while it makes progress, or waits for us."""
        cycle = self._cycle()
        answered = cycle is not None and cycle.response_started
        if not answered and (self.flow.read_paused or self._progressed()):
            return True
        self.transport.abort()
        return False

    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # uvicorn declares it present, and begins with None

    def _progressed(self) -> bool:
        if self._in_head or self._body_bytes - self._body_bytes_rewarded < self._gate.limits.progress_bytes:
            return False
        self._body_bytes_rewarded = self._body_bytes
        return True

    def _fault_in_head(self) -> Fault | None:
        if len(self.pipeline) >= self._gate.limits.pipelined:
            return MALFORMED
        return fault_in_head(
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version(),
            self.headers,
            self._gate.limits,
            upgrade=self.parser.should_upgrade(),
        )

    def _bound_unfinished(self) -> None:
        limits = self._gate.limits
        if not self._in_head:
            if self._wire_bytes > limits.header_bytes + _MAX_FRAMING_PER_BYTE * self._body_bytes:
                self._refuse(FRAMING_WASTE)
        elif len(self.url) > limits.target_bytes:
            self._refuse(TARGET_TOO_LONG)
        elif self._wire_bytes > limits.header_bytes + limits.target_bytes:
            self._refuse(HEAD_TOO_LARGE)

    def _upgrade(self) -> None:
        if self._should_upgrade():
            self._gate.forget(self)
            self.handle_websocket_upgrade()
            del self.parser  # which holds us: thousands of both would wait for a collection of everything
        else:
            # Answered as if it had not asked; what follows an upgrade is not ours to frame.
            self._deaf = True
            self.cycle.keep_alive = False

    def _refuse(self, fault: Fault) -> None:
        """Answer with the fault and read no more; the client has `linger_s` to take the answer before the cut."""
        self._gate.count(fault.reason)
        self._deaf = True
        self._gate.forget(self)
        if self._is_answering():
            self.transport.abort()
            return
        self.transport.write(_response(fault))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._gate.closing.add(self)

    def _is_answering(self) -> bool:
        """Whether an answer is on its way, into which ours must not fall; a request not yet answered is let go."""
        cycle = self._cycle()
        if cycle is None or cycle.response_complete:
            return False
        if not cycle.response_started:
            cycle.disconnected = True
            cycle.message_event.set()
        return cycle.response_started


def _response(fault: Fault) -> bytes:
    title, code = HTTPStatus(fault.status).phrase, CODE_BY_STATUS[fault.status]
    document = {
        "type": f"urn:devops-mcp:problem:{code}",
        "title": title,
        "status": fault.status,
        "detail": fault.detail,
        "code": code,
        "retryable": False,
    }
    body = orjson.dumps(document)
    fields = f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nconnection: close"
    return f"HTTP/1.1 {fault.status} {title}\r\n{fields}\r\n\r\n".encode("ascii") + body

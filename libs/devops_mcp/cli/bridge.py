"""What `devops-mcp stdio` does between its two ends: messages pass as they are, and the connection keeps a credential that holds."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from devops_mcp.cli.login import RENEW_BEFORE_S
from devops_mcp.models.errors import MalformedInput
from devops_mcp.serving.strict_json import loads

SUBPROTOCOL = Subprotocol("mcp")
AUTHENTICATE = "io.devops-mcp/authenticate"
"""The transport's own request, by which a connection goes on with another credential: see docs/websocket.md."""
MAX_MESSAGE_BYTES = 16 * 1_048_576
"""Of what the server sends; it takes less itself and says so."""
OPEN_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 10.0
"""How long answers are waited for after standard input has ended."""
_LOOK_EVERY_S = 30.0
_AGAIN_AFTER_S = 5.0

USAGE, UNREACHABLE, REFUSED, BROKEN_OFF = 2, 3, 4, 5
"""Exit codes of `devops-mcp stdio`."""


class Unable(Exception):
    """The bridge cannot be had; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and with which key."""

    url: str
    key: str = field(repr=False)
    ends_at: float | None = None
    """When the key ends, in seconds since 1970; None for one that is not known to."""


Renew: TypeAlias = Callable[[], Address]
"""The address with a key that is good for longer. Waits for others; raises `Unable`."""


class Bridge:
    """Carries messages until one side ends."""

    def __init__(self, address: Address, lines: AsyncIterator[bytes], output: int, renew: Renew) -> None:
        self._address = address
        self._renew = renew
        self._lines = lines
        self._output = output
        self._waiting: set[str | int] = set()
        self._answered = asyncio.Event()
        self._began = False
        self._own: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def run(self) -> None:
        """Return when the lines have ended and what they asked is answered. Raises `Unable`."""
        begins: bytes | None = None
        while True:
            socket = await self._connect()
            reading = asyncio.create_task(self._read(socket))
            try:
                begins = await self._carry(socket, reading, begins)
                if begins is None:
                    await self._settle(reading)
                    return
            finally:
                await _leave(socket, reading)

    async def _carry(
        self, socket: ClientConnection, reading: "asyncio.Task[None]", first: bytes | None
    ) -> bytes | None:
        """Send what the lines say; None at their end, or the line that needs a connection of its own."""
        sending = asyncio.create_task(self._send_lines(socket, first))
        keeping = asyncio.create_task(self._keep_authenticated(socket))
        try:
            await asyncio.wait({sending, reading, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await (keeping if keeping.done() else reading)  # says why it ended
            return await sending
        finally:
            sending.cancel()
            keeping.cancel()

    async def _keep_authenticated(self, socket: ClientConnection) -> None:
        """Give the connection another key before the one it has ends, for as long as there is one. Raises `Unable`."""
        while (ends_at := self._address.ends_at) is not None:
            await _until(ends_at - RENEW_BEFORE_S)
            self._address = await self._renewed(ends_at)
            await self._authenticate(socket)
        await asyncio.Event().wait()

    async def _renewed(self, ends_at: float) -> Address:
        while True:
            try:
                renewed = await asyncio.to_thread(self._renew)
            except Unable as error:
                if error.code != UNREACHABLE or time.time() > ends_at:
                    raise
            else:
                if renewed.url != self._address.url:
                    raise Unable(REFUSED, f"the login is for {renewed.url} now, not for {self._address.url}")
                return renewed
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _authenticate(self, socket: ClientConnection) -> None:
        own = f"devops-mcp-stdio-{time.monotonic_ns()}"
        answered = self._own[own] = asyncio.get_running_loop().create_future()
        params = {"authorization": f"Bearer {self._address.key}"}
        asked = {"jsonrpc": "2.0", "id": own, "method": AUTHENTICATE, "params": params}
        with suppress(ConnectionClosed):  # the reader hears of it too, and says why
            await socket.send(orjson.dumps(asked), text=True)
        refused = (await answered).get("error")
        if refused is not None:
            raise Unable(
                REFUSED, f"{self._address.url} does not take the new token: {refused.get('message')}"
            )

    async def _send_lines(self, socket: ClientConnection, first: bytes | None) -> bytes | None:
        if first is not None:
            await self._send(socket, first)
        async for line in self._lines:
            if self._begins_anew(line):
                return line
            await self._send(socket, line)
        return None

    async def _connect(self) -> ClientConnection:
        headers = {"Authorization": f"Bearer {self._address.key}"}
        try:
            return await connect(
                self._address.url,
                additional_headers=headers,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_WITHIN_S,
                user_agent_header="devops-mcp-stdio",
            )
        except InvalidStatus as error:
            status = error.response.status_code
            code = REFUSED if status in (401, 403) else UNREACHABLE
            raise Unable(
                code, f"{self._address.url} answered {status}: {_reason(bytes(error.response.body or b''))}"
            ) from None
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise Unable(
                UNREACHABLE, f"{self._address.url} cannot be reached ({type(error).__name__}); does it run?"
            ) from None

    def _begins_anew(self, line: bytes) -> bool:
        """A handshake after other messages: a connection is of one era, and this client changed its mind."""
        message = _message(line)
        if message.get("method") != "initialize":
            self._began |= "method" in message
            return False
        anew, self._began = self._began, True
        self._waiting.clear()
        return anew

    async def _send(self, socket: ClientConnection, line: bytes) -> None:
        message = _message(line)
        request_id = message.get("id")
        if "method" in message and isinstance(request_id, str | int):
            self._waiting.add(request_id)
        with suppress(ConnectionClosed):  # the reader hears of it too, and says why
            await socket.send(line, text=True)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for frame in socket:
                data = frame.encode() if isinstance(frame, str) else frame
                message = _message(data)
                if (own := self._own.pop(str(message.get("id")), None)) is not None:
                    own.set_result(message)
                    continue
                await asyncio.to_thread(_write_all, self._output, data.replace(b"\n", b" ") + b"\n")
                if "method" not in message:
                    self._waiting.discard(message.get("id", ""))
                    self._answered.set()
        except ConnectionClosed:
            pass
        why = f"{socket.close_code} {socket.close_reason or ''}".strip()
        raise Unable(BROKEN_OFF, f"the connection broke off ({why})")

    async def _settle(self, reading: "asyncio.Task[None]") -> None:
        """Wait for the answers that are owed, while they can come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                while self._waiting and not reading.done():
                    self._answered.clear()
                    answered = asyncio.create_task(self._answered.wait())
                    await asyncio.wait({answered, reading}, return_when=asyncio.FIRST_COMPLETED)
                    answered.cancel()
        if self._waiting and reading.done():
            await reading


async def _until(moment: float) -> None:
    """Wait for the time on the wall; in steps, since a machine that sleeps stops the clock by which one waits."""
    while (left := moment - time.time()) > 0:  # noqa: ASYNC110 - nothing tells of the time
        await asyncio.sleep(min(left, _LOOK_EVERY_S))


async def _leave(socket: ClientConnection, reading: "asyncio.Task[None]") -> None:
    reading.cancel()
    with suppress(asyncio.CancelledError, Unable):
        await reading
    await socket.close()


def _message(data: bytes) -> dict[str, Any]:
    """The message in a line, as far as it can be read: what is not one is the server's to refuse."""
    try:
        message = loads(data)
    except MalformedInput:
        return {}
    return message if isinstance(message, dict) else {}


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _reason(body: bytes) -> str:
    """What the server said of its refusal."""
    detail = _message(body).get("detail")
    return str(detail) if detail else "no reason given"

"""`devops-mcp stdio`: the protocol on standard input and output, for clients that start their servers as programs.

It carries messages between this program's streams and a running mcp-server's WebSocket, each as it is: one JSON-RPC message a line here,
one a text frame there. So every revision and capability is the server's own. Only what is protocol is written to standard output; what
went wrong is one line on standard error, and the exit code says which kind it was:

    0  standard input ended, or a signal asked for the end
    2  there is no address or no key, or the address is not one of a WebSocket
    3  the server cannot be reached
    4  the server refuses: the key is not valid, or may not connect
    5  the connection broke off
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from devops_mcp.cli.login import Login, signing_in
from devops_mcp.models.errors import MalformedInput, PlatformError
from devops_mcp.serving.strict_json import loads

URL_VARIABLE = "DEVOPS_MCP_URL"
KEY_VARIABLE = "DEVOPS_MCP_API_KEY"
SUBPROTOCOL = Subprotocol("mcp")
MAX_MESSAGE_BYTES = 16 * 1_048_576
"""Of what the server sends; it takes less itself and says so."""
OPEN_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 10.0
"""How long answers are waited for after standard input has ended."""
_CHUNK = 65_536


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


def address_of(url: str | None, state: Path, environment: Mapping[str, str]) -> Address:
    """The address that was asked for, else the environment's, else that of the suite which runs in `state`. Raises `Unable`."""
    suite = running(state)
    local = suite.get("mcp_ws")
    url = url or environment.get(URL_VARIABLE) or local
    key = environment.get(KEY_VARIABLE) or None
    if (
        key is None
        and local is not None
        and url is not None
        and (url == local or url.startswith(f"{local}/"))
    ):
        key = suite.get("api_key")
    login = _login(environment) if key is None else None
    if login is not None:
        server = _websocket_of(login)
        url = url or f"{server}/ws"
        key = login.access_token if url.startswith(f"{server}/") else None
    if url is None:
        raise Unable(
            2, f"no server is known: give --url or {URL_VARIABLE}, or start one with 'make run' ({state})"
        )
    if urlsplit(url).scheme not in ("ws", "wss") or not urlsplit(url).hostname:
        raise Unable(2, f"{url} is not the address of a WebSocket, such as wss://mcp.example.com/ws")
    if key is None:
        raise Unable(
            2, f"{KEY_VARIABLE} is missing; set it to an API key of the server, or run 'devops-mcp login'"
        )
    return Address(url, key)


def running(state: Path) -> dict[str, str]:
    """What the suite that runs in `state` says of itself; nothing where none does."""
    try:
        content: dict[str, str] = json.loads((state / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content


def _login(environment: Mapping[str, str]) -> Login | None:
    try:
        with signing_in(environment) as here:
            return here.current()
    except PlatformError as error:
        raise Unable(2, error.message) from None


def _websocket_of(login: Login) -> str:
    """The server that the login's token is for; it goes nowhere else."""
    return (login.audience or "").replace("http", "ws", 1)


class Bridge:
    """Carries messages until one side ends."""

    def __init__(self, address: Address, lines: AsyncIterator[bytes], output: int) -> None:
        self._address = address
        self._lines = lines
        self._output = output
        self._waiting: set[str | int] = set()
        self._answered = asyncio.Event()
        self._began = False

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
        try:
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await reading  # says why it ended
            return await sending
        finally:
            sending.cancel()

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
            code = 4 if status in (401, 403) else 3
            raise Unable(
                code, f"{self._address.url} answered {status}: {_reason(bytes(error.response.body or b''))}"
            ) from None
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise Unable(
                3, f"{self._address.url} cannot be reached ({type(error).__name__}); does it run?"
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
                await asyncio.to_thread(_write_all, self._output, data.replace(b"\n", b" ") + b"\n")
                message = _message(data)
                if "method" not in message:
                    self._waiting.discard(message.get("id", ""))
                    self._answered.set()
        except ConnectionClosed:
            pass
        why = f"{socket.close_code} {socket.close_reason or ''}".strip()
        raise Unable(5, f"the connection broke off ({why})")

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


async def _leave(socket: ClientConnection, reading: "asyncio.Task[None]") -> None:
    reading.cancel()
    with suppress(asyncio.CancelledError, Unable):
        await reading
    await socket.close()


async def lines_of(descriptor: int) -> AsyncGenerator[bytes, None]:
    """The lines that a file descriptor gives, without their ends and without empty ones.

    Read by a thread of its own, because a file cannot be waited for; and not through `sys.stdin`, whose lock would hold up our end.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)

    def read() -> None:
        with suppress(RuntimeError, asyncio.CancelledError):  # the loop has ended before the input did
            while True:
                chunk = os.read(descriptor, _CHUNK)
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
                if not chunk:
                    return

    threading.Thread(target=read, name="standard input", daemon=True).start()
    rest = b""
    while chunk := await chunks.get():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def main(url: str | None, state: Path) -> int:
    """Serve until the end; the exit code."""
    # Whatever prints by mistake must not reach the client, so standard output is ours alone from here on.
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        asyncio.run(_serve(address_of(url, state, os.environ), output))
    except Unable as error:
        sys.stderr.write(f"devops-mcp stdio: {error}\n")
        return error.code
    except (BrokenPipeError, KeyboardInterrupt):
        return 0  # nobody reads any more, or nobody wants to
    return 0


async def _serve(address: Address, output: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aclosing(lines_of(0)) as lines:
        bridging = asyncio.create_task(Bridge(address, lines, output).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({bridging, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not bridging.done():
            bridging.cancel()
        with suppress(asyncio.CancelledError):
            await bridging


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

"""One connection of `devops-mcp stdio` to the server's WebSocket: opened, spoken over, and why it ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from devops_mcp.cli.spoken import message_in

SUBPROTOCOL = Subprotocol("mcp")
SESSION_HEADER = "Mcp-Session-Id"
MAX_MESSAGE_BYTES = 16 * 1_048_576
"""Of what the server sends; it takes less itself and says so."""
OPEN_WITHIN_S = 10.0
ANSWERED_WITHIN_S = 10.0
CLOSED_WITHIN_S = 1.0
"""So long a server that does not say goodbye holds up the end, or the next connection."""
HELD_S = 10.0
"""A connection that lasted so long was a good one."""

USAGE, UNREACHABLE, REFUSED, BROKEN_OFF = 2, 3, 4, 5
"""Exit codes of `devops-mcp stdio`."""


class Unable(Exception):
    """The bridge cannot be had; `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class BrokenOff(Unable):
    """A connection ended that was to go on; `closed` is the WebSocket's close code, None where there was none."""

    def __init__(self, closed: int | None, reason: str) -> None:
        super().__init__(BROKEN_OFF, f"the connection broke off ({f'{closed} {reason}'.strip()})")
        self.closed = closed


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and with which key."""

    url: str
    key: str = field(repr=False)
    ends_at: float | None = None
    """When the key ends, in seconds since 1970; None for one that is not known to."""
    caller: tuple[str, str] | None = None
    """Whose login the key is of, by tenant and user; None for an API key."""


Deliver: TypeAlias = Callable[["Link", bytes, dict[str, Any]], Awaitable[None]]
"""Takes a message of the server for the client, as it came and as it was read."""


class Link:
    """Open it with `open_link`. `reading` ends with the connection, and raises why."""

    def __init__(self, socket: ClientConnection, deliver: Deliver) -> None:
        self._socket = socket
        self._deliver = deliver
        self._own: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._opened_at = time.monotonic()
        self._meanwhile: set[asyncio.Task[None]] = set()
        self.began = False
        """Whether anything was said over it."""
        self.reading = asyncio.create_task(self._read())

    @property
    def session(self) -> str:
        """By which the server knows the connection when it is made again."""
        response = self._socket.response
        return "" if response is None else response.headers.get(SESSION_HEADER, "")

    @property
    def held(self) -> bool:
        return time.monotonic() - self._opened_at > HELD_S

    async def send(self, line: bytes) -> None:
        self.began = True
        with suppress(ConnectionClosed):  # `reading` hears of it too, and says why
            await self._socket.send(line, text=True)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a request of our own, which the client sees nothing of. Raises `Unable`."""
        own = f"devops-mcp-stdio-{time.monotonic_ns()}"
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._own[own] = answered
        with suppress(ConnectionClosed):
            await self._socket.send(orjson.dumps({**message, "id": own}), text=True)
        ends: set[asyncio.Future[Any]] = {answered, self.reading}
        await asyncio.wait(ends, timeout=ANSWERED_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        if self.reading.done() and not answered.done():
            await self.reading  # says why it ended
        if not answered.done():
            raise Unable(UNREACHABLE, f"no answer within {ANSWERED_WITHIN_S:g} s")
        return answered.result()

    def meanwhile(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do something that ends with the connection at the latest."""
        task = asyncio.create_task(doing)
        self._meanwhile.add(task)
        task.add_done_callback(self._meanwhile.discard)

    async def close(self) -> None:
        await cancelled(self.reading, *self._meanwhile)
        await self._socket.close()

    async def _read(self) -> None:
        try:
            async for frame in self._socket:
                data = frame.encode() if isinstance(frame, str) else frame
                message = message_in(data)
                own = self._own.pop(str(message.get("id")), None)
                if own is None:
                    await self._deliver(self, data, message)
                elif not own.done():
                    own.set_result(message)
        except ConnectionClosed:
            pass
        raise BrokenOff(self._socket.close_code, self._socket.close_reason or "")


async def open_link(address: Address, session: str, deliver: Deliver) -> Link:
    """A connection; `session` is that of one which it takes the place of. Raises `Unable`."""
    headers = {"Authorization": f"Bearer {address.key}"} | ({SESSION_HEADER: session} if session else {})
    try:
        socket = await connect(
            address.url,
            additional_headers=headers,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            open_timeout=OPEN_WITHIN_S,
            close_timeout=CLOSED_WITHIN_S,
            user_agent_header="devops-mcp-stdio",
        )
    except InvalidStatus as error:
        status = error.response.status_code
        code = REFUSED if status in (401, 403, 422) else UNREACHABLE
        reason = _reason(bytes(error.response.body or b""))
        raise Unable(code, f"{address.url} answered {status}: {reason}") from None
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
        raise Unable(
            UNREACHABLE, f"{address.url} cannot be reached ({type(error).__name__}); does it run?"
        ) from None
    return Link(socket, deliver)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """End tasks; what they would have raised now is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _reason(body: bytes) -> str:
    """What the server said of its refusal."""
    detail = message_in(body).get("detail")
    return str(detail) if detail else "no reason given"

"""Bodies no larger than their path takes, and all together no larger than there is room for."""

import asyncio
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devops_mcp.models.errors import PayloadTooLarge, PlatformError, Unavailable
from devops_mcp.serving.limits import MIB, BodyLimits

_MAX_DRAINED = 16 * MIB


def announced_length(content_length: bytes) -> int:
    """What `Content-Length` says, 0 where it says nothing that can be read."""
    return int(content_length) if content_length.isdigit() and len(content_length) <= 18 else 0


class Room:
    """Memory for the bodies that a process holds at once. Who finds none left waits a moment, in the order of asking.

    The body that has come for longest is never kept waiting, so that one ends after the other where all of them together do not fit.
    """

    def __init__(self, limits: BodyLimits) -> None:
        self._left = limits.together
        self._wait_s = limits.wait_s
        self._held: dict[object, int] = {}
        self._waiting: dict[object, tuple[int, asyncio.Future[None]]] = {}

    async def take(self, whose: object, size: int) -> None:
        """Take so many bytes more for a body; it is to `leave`. Raises `Unavailable` where others do not end in time."""
        self._held.setdefault(whose, 0)
        if (size <= self._left and not self._waiting) or whose is self._eldest():
            self._grant(whose, size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[whose] = (size, turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except TimeoutError:
            raise Unavailable("too much is being sent here at once; send it again", retry_after_s=1) from None

    def leave(self, whose: object) -> None:
        """Give back all that a body took, and let those who wait have it."""
        self._waiting.pop(whose, None)
        self._left += self._held.pop(whose, 0)
        eldest = self._eldest()
        if eldest in self._waiting:
            self._admit(eldest)
        for waiting, (size, _) in tuple(self._waiting.items()):
            if size > self._left:
                return
            self._admit(waiting)

    def _eldest(self) -> object:
        return next(iter(self._held), None)

    def _admit(self, whose: object) -> None:
        size, turn = self._waiting.pop(whose)
        self._grant(whose, size)
        if not turn.done():
            turn.set_result(None)

    def _grant(self, whose: object, size: int) -> None:
        self._held[whose] += size
        self._left -= size


class BoundedBody:
    """Runs an application on a body that is counted as it comes.

    A body over the limit is answered 413, and one that there is no room for 503, whatever the application makes of it: before reading when
    it was announced, else where it crosses the limit. Some of the rest is read and dropped, so that a client which sends before it reads
    gets to see the answer.
    """

    __slots__ = (
        "_each",
        "_free",
        "_held",
        "_limit",
        "_more",
        "_receive",
        "_refused",
        "_room",
        "_send",
        "_size",
        "_started",
    )

    def __init__(
        self, receive: Receive, send: Send, path: str, announced: int, limits: BodyLimits, room: Room
    ) -> None:
        self._receive = receive
        self._send = send
        self._limit = limits.of(path)
        self._free = limits.free
        self._each = limits.each
        self._room = room
        self._refused: PlatformError | None = self._too_large() if announced > self._limit else None
        self._size = 0
        self._held = 0
        self._more = True
        self._started = False

    async def run(self, app: ASGIApp, scope: Scope, told: Callable[[PlatformError], Response]) -> None:
        """Answer with the application, or with what `told` makes of the refusal."""
        if self._refused is None:
            try:
                await app(scope, self.receive, self.send)
            except Exception:
                # Whatever became of our error inside the application, the cause is the size.
                if self._refused is None:
                    raise
            finally:
                if self._held:
                    self._room.leave(self)
        if self._refused is not None and not self._started:
            await self._refuse(scope, told(self._refused))

    async def receive(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._size > self._limit:
            self._refused = self._too_large()
            raise self._refused
        if self._size > self._free:
            await self._hold(min(self._size, self._each) - self._held)
        return message

    async def _hold(self, more: int) -> None:
        if more <= 0:
            return
        self._held += more
        try:
            await self._room.take(self, more)
        except Unavailable as error:
            self._refused = error
            raise

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the body is larger than the {self._limit} bytes this path takes")

    async def send(self, message: Message) -> None:
        # An application that caught the error in `receive` and answers something else is not heard.
        if self._refused is not None and not self._started:
            return
        self._started = True
        await self._send(message)

    async def _refuse(self, scope: Scope, refusal: Response) -> None:
        refusal.headers["connection"] = "close"
        await self._send(
            {"type": "http.response.start", "status": refusal.status_code, "headers": refusal.raw_headers}
        )
        await self._send({"type": "http.response.body", "body": refusal.body, "more_body": True})
        await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        # Without a deadline of its own: HardenedHttp cuts a request that is not complete in time.
        drained = 0
        while self._more and drained < _MAX_DRAINED:
            message = await self._receive()
            drained += len(message.get("body", b""))
            self._more = message.get("more_body", False)

"""Bodies no larger than their path takes."""

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devops_mcp.models.errors import PayloadTooLarge
from devops_mcp.serving.limits import MIB

_MAX_DRAINED = 16 * MIB


def announced_length(content_length: bytes) -> int:
    """What `Content-Length` says, 0 where it says nothing that can be read."""
    return int(content_length) if content_length.isdigit() and len(content_length) <= 18 else 0


class BoundedBody:
    """Runs an application on a body that is counted as it comes.

    A body over the limit is answered 413, whatever the application makes of it: before reading when it was announced, else where it
    crosses the limit. Some of the rest is read and dropped, so that a client which sends before it reads gets to see the answer.
    """

    __slots__ = ("_limit", "_more", "_over", "_receive", "_send", "_size", "_started")

    def __init__(self, receive: Receive, send: Send, limit: int, announced: int) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._over = announced > limit
        self._size = 0
        self._more = True
        self._started = False

    async def run(self, app: ASGIApp, scope: Scope, refusal: Callable[[], Response]) -> None:
        if not self._over:
            try:
                await app(scope, self.receive, self.send)
            except Exception:
                # Whatever became of our error inside the application, the cause is the size.
                if not self._over:
                    raise
        if self._over and not self._started:
            await self._refuse(scope, refusal())

    async def receive(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._size > self._limit:
            self._over = True
            raise PayloadTooLarge(f"the body is larger than the {self._limit} bytes this path takes")
        return message

    async def send(self, message: Message) -> None:
        # An application that caught the error in `receive` and answers something else is not heard.
        if self._over and not self._started:
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

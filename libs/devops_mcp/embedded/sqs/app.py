"""The server: one ASGI callable over a store, its journal and those who wait."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from devops_mcp.embedded.sqs.actions import Actions
from devops_mcp.embedded.sqs.answers import received_message
from devops_mcp.embedded.sqs.call import Call
from devops_mcp.embedded.sqs.errors import Refused
from devops_mcp.embedded.sqs.journal import Journal
from devops_mcp.embedded.sqs.moves import MoveStatus, MoveTask, MoveTasks
from devops_mcp.embedded.sqs.pollers import Pollers
from devops_mcp.embedded.sqs.records import Message, Record, queues_of
from devops_mcp.embedded.sqs.store import Store
from devops_mcp.models.errors import Unavailable

log = structlog.get_logger(__name__)

_TARGET = "AmazonSQS."
_MAX_BODY_BYTES = 8 * 1024 * 1024
"""Ten messages of together 1 MiB, escaped in JSON."""
_EXPIRE_EVERY_S = 60.0
_JSON = (b"content-type", b"application/x-amz-json-1.0")


class Server:
    """ASGI application. Its lifespan does the work in the background; `release_pollers` lets those who wait go with nothing."""

    def __init__(self, journal: Journal, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        """A server with what the journal holds, which is compacted then. Raises `ConfigurationError` when that is damaged."""
        self._journal = journal
        self._store = Store(clock=clock, new_id=new_id, recorded=self._recorded)
        self._moves = MoveTasks(self._store)
        self._actions = Actions(self._store, self._moves, self._run_move)
        self._pollers: dict[str, Pollers] = {}
        self._touched: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._restore()

    def _restore(self) -> None:
        for record in self._journal.read():
            self._store.apply(record)
        self._store.expire()
        self._journal.compact(self._store.snapshot())

    def _recorded(self, record: Record) -> None:
        self._journal.append(record)
        self._touched.update(queues_of(record))

    def _start(self) -> None:
        self._spawn(self._journal.run(self._store.snapshot))
        self._spawn(self._expire_forever())

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._journal.close()

    def release_pollers(self) -> None:
        """Answer everyone who waits at once, and from now on wait for nothing."""
        self._stopping = True
        for pollers in self._pollers.values():
            pollers.wake_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["method"] == "GET" and scope["path"] == "/health":
            await _respond(send, HTTPStatus.OK, b'{"status":"ok"}')
        else:
            await self._answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            action, base_url = _read_head(scope)
            call = Call.parse(await _read_body(receive), base_url)
            answer = await self._perform(action, call, receive)
        except Refused as error:
            await _respond(send, HTTPStatus.BAD_REQUEST, *_error(error.kind, error.message, error.code))
        except Unavailable as error:
            log.error("request not kept", problem=error.message)
            fault = _error("ServiceUnavailable", error.message, "ServiceUnavailable", fault="Receiver")
            await _respond(send, HTTPStatus.SERVICE_UNAVAILABLE, *fault)
        except Exception:
            log.exception("request failed")
            fault = _error("InternalFailure", "the server failed", "InternalFailure", fault="Receiver")
            await _respond(send, HTTPStatus.INTERNAL_SERVER_ERROR, *fault)
        else:
            await _respond(send, HTTPStatus.OK, orjson.dumps(answer))

    async def _perform(self, action: str, call: Call, receive: Receive) -> Mapping[str, Any]:
        if action == "ReceiveMessage":
            return await self._receive_messages(call, receive)
        try:
            return self._actions.perform(action, call)
        finally:
            await self._settle()

    async def _settle(self) -> None:
        """Wake whoever waits for what has just changed, and return when it is kept."""
        self._notify()
        await self._journal.commit()

    def _notify(self) -> None:
        touched, self._touched = self._touched, set()
        for name in touched & self._pollers.keys():
            self._pollers[name].notify()

    async def _receive_messages(self, call: Call, receive: Receive) -> Mapping[str, Any]:
        name = call.queue_name
        queue = self._store.queue(name)
        limit = call.optional_integer("MaxNumberOfMessages", 1, 10) or 1
        visibility_s = call.optional_integer("VisibilityTimeout", 0, 43_200)
        wait_s = call.optional_integer("WaitTimeSeconds", 0, 20)
        names = call.texts("MessageAttributeNames")
        system = frozenset(call.texts("MessageSystemAttributeNames") or call.texts("AttributeNames"))
        messages = self._take(name, limit, visibility_s)
        if wait_s is None:
            wait_s = queue.settings.wait_s
        if not messages and wait_s and not self._stopping:
            messages = await self._wait(name, limit, visibility_s, wait_s, receive)
        if not messages:
            return {}
        return {"Messages": [received_message(name, message, system, names) for message in messages]}

    def _take(self, name: str, limit: int, visibility_s: int | None) -> list[Message]:
        messages = self._store.receive(name, limit, visibility_s)
        self._notify()
        self._journal.write()
        return messages

    async def _wait(
        self, name: str, limit: int, visibility_s: int | None, wait_s: int, receive: Receive
    ) -> list[Message]:
        """Wait for messages; a caller who hangs up takes none."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        pollers = self._pollers_of(name)
        hung_up = asyncio.ensure_future(_wait_for_hang_up(receive))
        try:
            while (left := until - loop.time()) > 0:
                await pollers.wait(left, hung_up)
                if hung_up.done() or self._stopping:
                    return []
                if messages := self._take(name, limit, visibility_s):
                    return messages
            return []
        finally:
            hung_up.cancel()
            pollers.notify()
            if not pollers:
                self._pollers.pop(name, None)

    def _pollers_of(self, name: str) -> Pollers:
        if name not in self._pollers:
            self._pollers[name] = Pollers(lambda: self._store.queues.get(name), self._store.clock)
        return self._pollers[name]

    def _run_move(self, task: MoveTask) -> None:
        self._spawn(self._move(task))

    async def _move(self, task: MoveTask) -> None:
        while task.status is MoveStatus.RUNNING:
            self._moves.step(task)
            await self._settle()
            await asyncio.sleep(1 / task.per_second if task.per_second else 0)

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY_S)
            self._store.expire()
            self._journal.write()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background work failed", exc_info=error)


def _read_head(scope: Scope) -> tuple[str, str]:
    """The action, and the address the caller used. Browsers are refused: they send an origin, and no queue client does."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if b"origin" in headers:
        raise Refused("AccessDeniedException", "requests of browsers are refused")
    target = headers.get(b"x-amz-target", b"").decode("latin-1")
    if scope["method"] != "POST" or not target.startswith(_TARGET):
        raise Refused(
            "InvalidAction", "expected AWS JSON 1.0: a POST with the header X-Amz-Target: AmazonSQS.<Action>"
        )
    host = headers.get(b"host", b"127.0.0.1").decode("latin-1")
    return target.removeprefix(_TARGET), f"{scope['scheme']}://{host}"


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    if not message.get("more_body"):
        return _checked(message.get("body", b""))
    parts = [message.get("body", b"")]
    size = len(parts[0])
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY_BYTES:
            break
    return _checked(b"".join(parts))


def _checked(body: bytes) -> bytes:
    if len(body) > _MAX_BODY_BYTES:
        raise Refused("RequestEntityTooLarge", f"the body is longer than {_MAX_BODY_BYTES} bytes")
    return body


async def _wait_for_hang_up(receive: Receive) -> None:
    message: AsgiMessage = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def _error(kind: str, message: str, code: str, *, fault: str = "Sender") -> tuple[bytes, tuple[bytes, bytes]]:
    body = orjson.dumps({"__type": f"com.amazonaws.sqs#{kind}", "message": message})
    return body, (b"x-amzn-query-error", f"{code};{fault}".encode())


async def _respond(send: Send, status: HTTPStatus, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status.value, "headers": [_JSON, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body})

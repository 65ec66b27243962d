"""Requests for a session that lives on another replica: handed to it whole, and its answer passed on as it comes.

Each side speaks over Redis to the other's channel. A request reached its replica or did not: there is no retry, so that a call is never
made twice. When the replica dies, its answers end at once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devops_mcp.cache.replicas import Replicas
from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import new_id
from mcp_server.transports.http_exchange import FORWARDED

log = structlog.get_logger()

ACKNOWLEDGED_S = 2.0
WATCH_S = 1.0
DRAIN_S = 10.0
"""How long others' requests may take to end when this process does; nobody else waits for them."""
_MAX_WAITING_BYTES = 4 * 1_048_576


class Lost(Exception):
    """The other replica is gone, or what it said was lost on the way. `started`: whether an answer had begun."""

    def __init__(self, *, started: bool, is_stream: bool) -> None:
        super().__init__("the replica that has the session is gone")
        self.started = started
        self.is_stream = is_stream


class _Part(NamedTuple):
    head: dict[str, Any]
    body: bytes


class _Outgoing:
    """A request we handed on, and the parts of its answer that have come."""

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self._parts: asyncio.Queue[_Part | None] = asyncio.Queue()
        self._waiting = 0
        self._expected = 0

    def put(self, part: _Part) -> None:
        if part.head["n"] != self._expected or self._waiting > _MAX_WAITING_BYTES:
            self.lose()
            return
        self._expected += 1
        self._waiting += len(part.body)
        self._parts.put_nowait(part)

    def lose(self) -> None:
        self._parts.put_nowait(None)

    async def next(self) -> _Part | None:
        """The next part; None when no more will come."""
        part = await self._parts.get()
        self._waiting -= len(part.body) if part else 0
        return part


class _Incoming:
    """A request that another replica received and we answer."""

    def __init__(self, replicas: Replicas, head: dict[str, Any], body: bytes) -> None:
        self.gone = asyncio.Event()
        self._replicas = replicas
        self._exchange, self._replica = head["x"], head["from"]
        self._body: bytes | None = body
        self._sent = 0

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in message["headers"]
            ]
            await self.part({"k": "start", "status": message["status"], "headers": headers})
        else:
            await self.part({"k": "body", "more": message.get("more_body", False)}, message.get("body", b""))

    async def part(self, head: dict[str, Any], body: bytes = b"") -> None:
        if self.gone.is_set():
            return
        head |= {"x": self._exchange, "n": self._sent}
        self._sent += 1
        try:
            heard = await self._replicas.tell(self._replica, _packed(head, body))
        except Unavailable:
            heard = False
        if not heard:
            self.gone.set()


class Relay:
    """Both ends. `serve` answers what others hand to us; `dropped` hears of sessions that another has taken over."""

    def __init__(self, replicas: Replicas, serve: ASGIApp, dropped: Callable[[str], None]) -> None:
        self._replicas = replicas
        self._serve = serve
        self._dropped = dropped
        self._outgoing: dict[str, _Outgoing] = {}
        self._incoming: dict[str, _Incoming] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._any = asyncio.Event()

    @asynccontextmanager
    async def running(self, resumed: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Hand on and answer within this block; `resumed` is called when other replicas can be heard (again)."""
        watch = asyncio.create_task(self._watch(), name="replica watch")
        try:
            async with self._replicas.running(self._hear, self._lose_all, resumed):
                yield
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=DRAIN_S)
        finally:
            tasks = [watch, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def forward(
        self, replica: str, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> int | None:
        """Have `replica` answer; the status it gave, or None where nobody listens there: then nothing has happened.

        Raises `Unavailable` when it is not known whether the request arrived, `Lost` when the answer broke off.
        """
        exchange = uuid4().hex
        outgoing = self._outgoing[exchange] = _Outgoing(replica)
        self._any.set()
        try:
            if not await self._replicas.tell(replica, _packed(self._request(exchange, scope), body)):
                return None
            await _acknowledged(outgoing)
            gone = asyncio.create_task(
                self._tell_when_gone(replica, exchange, receive), name="relayed client"
            )
            try:
                return await _pass_on(outgoing, send)
            finally:
                gone.cancel()
        finally:
            del self._outgoing[exchange]

    async def tell_dropped(self, replica: str, session_id: str) -> None:
        """Tell a replica that a session it had is ours now."""
        await self._replicas.tell(replica, _packed({"k": "dropped", "session": session_id}))

    def _request(self, exchange: str, scope: Scope) -> dict[str, Any]:
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        return {
            "k": "request",
            "x": exchange,
            "from": self._replicas.own_id,
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "params": scope.get("path_params", {}),
            "headers": headers,
            "request_id": scope.get("state", {}).get("request_id"),
        }

    def _hear(self, packed: bytes) -> None:
        head, body = _unpacked(packed)
        match head["k"]:
            case "request":
                self._start(_Incoming(self._replicas, head, body), head)
            case "gone":
                if (incoming := self._incoming.get(head["x"])) is not None:
                    incoming.gone.set()
            case "dropped":
                self._dropped(head["session"])
            case _:
                if (outgoing := self._outgoing.get(head["x"])) is not None:
                    outgoing.put(_Part(head, body))

    def _start(self, incoming: _Incoming, head: dict[str, Any]) -> None:
        task = asyncio.create_task(self._answer(incoming, head), name="relayed request")
        self._incoming[head["x"]] = incoming
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._incoming[head["x"]]
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("relayed request failed", exc_info=error)

        task.add_done_callback(ended)

    async def _answer(self, incoming: _Incoming, head: dict[str, Any]) -> None:
        structlog.contextvars.bind_contextvars(request_id=head["request_id"])
        await incoming.part({"k": "ack"})
        try:
            await self._serve(_scope_of(head), incoming.receive, incoming.send)
        finally:
            await incoming.part({"k": "end"})

    async def _tell_when_gone(self, replica: str, exchange: str, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        with suppress(Unavailable):
            await self._replicas.tell(replica, _packed({"k": "gone", "x": exchange}))

    async def _watch(self) -> None:
        """What a dead replica still owed us is lost; a dead connection to Redis is not its death."""
        while True:
            await self._any.wait()
            await asyncio.sleep(WATCH_S)
            if not self._outgoing:
                self._any.clear()
                continue
            replicas = {outgoing.replica for outgoing in self._outgoing.values()}
            try:
                dead = replicas - await self._replicas.living(replicas)
            except Unavailable:
                continue
            for outgoing in list(self._outgoing.values()):
                if outgoing.replica in dead:
                    outgoing.lose()

    def _lose_all(self) -> None:
        for outgoing in self._outgoing.values():
            outgoing.lose()


async def _acknowledged(outgoing: _Outgoing) -> None:
    try:
        async with asyncio.timeout(ACKNOWLEDGED_S):
            part = await outgoing.next()
    except TimeoutError:
        raise Unavailable("the replica that has this session does not answer", retry_after_s=1) from None
    if part is None:
        raise Lost(started=False, is_stream=False)


async def _pass_on(outgoing: _Outgoing, send: Send) -> int:
    status, is_stream = 0, False
    while (part := await outgoing.next()) is not None:
        match part.head["k"]:
            case "start":
                status = part.head["status"]
                headers = [
                    (name.encode("latin-1"), value.encode("latin-1")) for name, value in part.head["headers"]
                ]
                is_stream = (b"content-type", b"text/event-stream") in headers
                await send({"type": "http.response.start", "status": status, "headers": headers})
            case "body":
                await send({"type": "http.response.body", "body": part.body, "more_body": part.head["more"]})
                if not part.head["more"]:
                    return status
            case _:
                break
    raise Lost(started=bool(status), is_stream=is_stream)


def _scope_of(head: dict[str, Any]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": head["method"],
        "scheme": "http",
        "path": head["path"],
        "raw_path": head["path"].encode(),
        "root_path": "",
        "query_string": head["query"].encode("latin-1"),
        "path_params": head["params"],
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head["headers"]],
        "client": None,
        "server": None,
        "state": {"request_id": head["request_id"] or new_id().hex},
        FORWARDED: True,
    }


def _packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    return orjson.dumps(head) + b"\n" + body


def _unpacked(packed: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, body = packed.partition(b"\n")
    return orjson.loads(head), body

"""The short way of `tools/call` and `tools/list` over Streamable HTTP: a request whose headers say what its body says, answered with JSON.

Whatever differs from that, the SDK's entry judges. As there, a client that hangs up has cancelled its call.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.inbound import decode_header_value
from starlette.types import Receive

from devops_mcp.resilience.watch import Watch
from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.plain_requests import CALL, LIST
from mcp_server.transports.http_exchange import Exchange

_ONCE = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"content-type", b"accept"})
_PARAMETER = b"mcp-param-"
LISTENED_AFTER_S = 0.05


class HttpFast:
    """Made within the event loop that it is used in."""

    def __init__(self, fast: FastCalls) -> None:
        self._fast = fast
        self._lasting: Watch[_Call] = Watch(asyncio.get_running_loop(), LISTENED_AFTER_S, _Call.listen)

    async def answered(self, exchange: Exchange) -> bool:
        """Answer, if the request is plain; else do nothing and say so."""
        message = exchange.message
        if not isinstance(message, types.JSONRPCRequest) or not _mirrors(exchange, message):
            return False
        said = {"id": message.id, "method": message.method, "params": message.params or {}}
        answering = await self._fast.prepare(said, exchange.scope)
        if answering is None:
            return False
        answer = await self._while_heard(answering, exchange.receive)
        if answer is not None:
            await exchange.respond_json(answer)
        return True

    async def _while_heard(self, answering: Answering, receive: Receive) -> bytes | None:
        """The answer; None when the client hung up before there was one, which ends the call."""
        call = _Call(receive)
        self._lasting.add(call)
        try:
            return await answering()
        except asyncio.CancelledError:
            if call.was_left():
                return None
            raise
        finally:
            self._lasting.discard(call)
            call.close()


class _Call:
    """A call under way, in the task that made this. Its client is listened to once it has taken a while; most have ended by then."""

    __slots__ = ("_has_left", "_leaving", "_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receive = receive
        self._has_left = False
        self._leaving: asyncio.Task[None] | None = None

    def was_left(self) -> bool:
        """Whether it was cancelled because its client has left, and for nothing else."""
        return self._has_left and not self._task.uncancel()

    def close(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()

    def listen(self) -> bool:
        self._leaving = asyncio.create_task(self._leave(), name="http client leaving")
        return False

    async def _leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()


def _mirrors(exchange: Exchange, message: types.JSONRPCRequest) -> bool:
    """Whether the headers are those that a plain call has, each once, and say what the body says."""
    headers = _plain_headers(exchange.scope["headers"])
    if headers is None or message.method not in (CALL, LIST) or headers.get(b"mcp-method") != message.method:
        return False
    params: Mapping[str, Any] = message.params or {}
    meta = params.get("_meta")
    version = meta.get(types.PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
    accept = headers.get(b"accept", "")
    return (
        version is not None
        and headers.get(b"mcp-protocol-version") == version
        and decode_header_value(headers.get(b"mcp-name")) == params.get("name")
        and headers.get(b"content-type", "").partition(";")[0].strip() == "application/json"
        and "application/json" in accept
        and "text/event-stream" in accept
    )


def _plain_headers(raw: list[tuple[bytes, bytes]]) -> dict[bytes, str] | None:
    """The headers that matter; None when one comes twice, or mirrors an argument."""
    found: dict[bytes, str] = {}
    for name, value in raw:
        if name.startswith(_PARAMETER) or (name in _ONCE and name in found):
            return None
        if name in _ONCE:
            found[name] = value.decode("latin-1")
    return found

"""The short way of `tools/call` and `tools/list` over Streamable HTTP: a request whose headers say what its body says, answered with JSON.

Whatever differs from that, the SDK's entry judges. As there, a client that hangs up has cancelled its call.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.inbound import decode_header_value
from starlette.types import Receive

from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.plain_requests import CALL, LIST
from mcp_server.transports.http_exchange import Exchange

_ONCE = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"content-type", b"accept"})
_PARAMETER = b"mcp-param-"


async def answered_fast(fast: FastCalls, exchange: Exchange) -> bool:
    """Answer, if the request is plain; else do nothing and say so."""
    message = exchange.message
    if not isinstance(message, types.JSONRPCRequest) or not _mirrors(exchange, message):
        return False
    said = {"id": message.id, "method": message.method, "params": message.params or {}}
    answer_to = await fast.prepare(said, exchange.scope)
    if answer_to is None:
        return False
    answer = await _while_heard(answer_to, exchange.receive)
    if answer is not None:
        await exchange.respond_json(answer)
    return True


async def _while_heard(answering: Answering, receive: Receive) -> bytes | None:
    """The answer; None when the client hung up before there was one, which ends the call."""
    caller = asyncio.current_task()
    assert caller is not None
    has_left = False

    async def leave() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        caller.cancel()

    leaving = asyncio.create_task(leave())
    try:
        return await answering()
    except asyncio.CancelledError:
        if has_left and not caller.uncancel():
            return None
        raise
    finally:
        leaving.cancel()


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

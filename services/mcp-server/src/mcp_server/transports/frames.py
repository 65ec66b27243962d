"""JSON-RPC messages as they come over a stream: read strictly, each fault answered."""

from typing import Any

import mcp_types as types

from devops_mcp.models.errors import MalformedInput
from devops_mcp.serving.strict_json import loads

MAX_LASTING_BYTES = 65_536
"""Of a message that is kept for as long as its connection, its session, or the stream that it opens."""
MAX_LASTING_VALUES = 500
"""In such a message: an empty object of three bytes is one of four hundred in our memory."""
MAX_WORD = 1_000
"""Characters of an id or a method, which come back with the answer."""
_LASTING = frozenset({"initialize", "subscriptions/listen"})


class BadFrame(Exception):
    """The frame is not a JSON-RPC message; `answer` says why, to whom sent it."""

    def __init__(self, code: int, message: str, request_id: str | int | None = None) -> None:
        super().__init__(message)
        self.answer = error_to(request_id, types.ErrorData(code=code, message=message))


def read_object(raw: bytes) -> dict[str, Any]:
    """The message in `raw` as it stands. Raises `BadFrame`: -32700 for what is not JSON, -32600 for what is not one message.

    A request's id must be a string or an integer (the protocol's rule): null, a fraction or a boolean could not be answered. What a client
    says once and we keep must not fill our memory.
    """
    try:
        value = loads(raw)
    except MalformedInput as error:
        raise BadFrame(types.PARSE_ERROR, error.message) from None
    if not isinstance(value, dict):
        raise BadFrame(
            types.INVALID_REQUEST, "a frame holds one JSON-RPC message; batches are not part of the protocol"
        )
    request_id = value.get("id")
    if "id" in value and (isinstance(request_id, bool) or not isinstance(request_id, str | int)):
        raise BadFrame(types.INVALID_REQUEST, "the id must be a string or an integer")
    if isinstance(request_id, str) and len(request_id) > MAX_WORD:
        raise BadFrame(types.INVALID_REQUEST, f"the id must have at most {MAX_WORD} characters")
    if not _is_message(value):
        raise BadFrame(types.INVALID_REQUEST, _NO_MESSAGE, _answerable(value))
    if (fault := _excess(raw, str(value.get("method", "")))) is not None:
        raise BadFrame(types.INVALID_REQUEST, fault, _answerable(value))
    return value


def _excess(raw: bytes, method: str) -> str | None:
    """What there is too much of in a message; None where it may be answered."""
    if len(method) > MAX_WORD:
        return f"the method must have at most {MAX_WORD} characters"
    if method not in _LASTING:
        return None
    if len(raw) > MAX_LASTING_BYTES:
        return f"{method} may have at most {MAX_LASTING_BYTES} bytes"
    # Each value but the first of its object or list follows a comma. Those in texts are counted as well: there are few.
    if raw.count(b",") + raw.count(b"{") + raw.count(b"[") > MAX_LASTING_VALUES:
        return f"{method} may hold at most {MAX_LASTING_VALUES} values"
    return None


def is_request(message: dict[str, Any]) -> bool:
    return "method" in message and "id" in message


def has_envelope(message: dict[str, Any]) -> bool:
    """Whether a request says itself who asks, as those of 2026-07-28 do."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and types.PROTOCOL_VERSION_META_KEY in meta


def read_frame(raw: bytes) -> types.JSONRPCMessage:
    """The same as the SDK's model of it."""
    return modelled(read_object(raw))


def modelled(value: dict[str, Any]) -> types.JSONRPCMessage:
    """What `read_object` gave as the SDK's model of it. Raises `BadFrame`."""
    try:
        if is_request(value):
            return types.JSONRPCRequest.model_validate(value, by_name=False)
        return types.jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValueError:
        raise BadFrame(types.INVALID_REQUEST, _NO_MESSAGE, _answerable(value)) from None


def written(message: types.JSONRPCMessage) -> str:
    return message.model_dump_json(by_alias=True, exclude_unset=True)


def error_to(request_id: str | int | None, error: types.ErrorData) -> types.JSONRPCError:
    """The answer that a request failed."""
    return types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


_NO_MESSAGE = 'not a JSON-RPC 2.0 message: it needs jsonrpc "2.0", and either a method with object params, or a result or error'


def _is_message(value: dict[str, Any]) -> bool:
    if value.get("jsonrpc") != "2.0":
        return False
    if "method" not in value:
        return "id" in value and ("result" in value or "error" in value)
    asks = "result" not in value and "error" not in value
    return asks and isinstance(value["method"], str) and isinstance(value.get("params", {}), dict)


def _answerable(value: dict[str, Any]) -> str | int | None:
    """The id to answer with: that of a request, since that of an answer is one of ours, and another one's with the client."""
    request_id = value.get("id")
    return request_id if "method" in value and isinstance(request_id, str | int) else None

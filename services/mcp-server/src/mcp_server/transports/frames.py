"""JSON-RPC messages as they come over a stream: read strictly, each fault answered."""

from typing import Any

import mcp_types as types

from devops_mcp.models.errors import MalformedInput
from devops_mcp.serving.strict_json import loads


class BadFrame(Exception):
    """The frame is not a JSON-RPC message; `answer` says why, to whom sent it."""

    def __init__(self, code: int, message: str, request_id: str | int | None = None) -> None:
        super().__init__(message)
        self.answer = types.JSONRPCError(
            jsonrpc="2.0", id=request_id, error=types.ErrorData(code=code, message=message)
        )


def read_frame(raw: bytes) -> types.JSONRPCMessage:
    """The message in `raw`. Raises `BadFrame`: -32700 for what is not JSON, -32600 for what is not one message.

    A request's id must be a string or an integer (the protocol's rule): null, a fraction or a boolean could not be answered.
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
    return _validated(value, request_id if isinstance(request_id, str | int) else None)


def _validated(value: dict[str, Any], request_id: str | int | None) -> types.JSONRPCMessage:
    try:
        return types.jsonrpc_message_adapter.validate_python(value, by_name=False)
    except ValueError:
        message = 'not a JSON-RPC 2.0 message: it needs jsonrpc "2.0", and a method with object params, or a result or error'
        raise BadFrame(types.INVALID_REQUEST, message, request_id) from None

"""Errors as problem documents (RFC 9457), and the one table from an error's code to its status."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from devops_mcp.models.errors import PlatformError, RateLimited

MEDIA_TYPE = "application/problem+json"

STATUS_BY_CODE: Mapping[str, int] = {
    "internal": 500,
    "configuration": 500,
    "invalid_input": 422,
    "malformed_input": 400,
    "payload_too_large": 413,
    "unsupported_format": 415,
    "unanswerable": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "personal_credential_missing": 403,
    "not_found": 404,
    "conflict": 409,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "deadline_exceeded": 504,
    "unavailable": 503,
    "upstream": 502,
    # The caller's own request is at fault, though it was the system that said so.
    "upstream_rejected": 422,
    # Our credentials, not the caller's: a 401 would send the caller to log in again.
    "upstream_unauthorized": 502,
    "upstream_not_found": 404,
    # The system limits us; the caller did nothing too often.
    "upstream_rate_limited": 503,
    "upstream_unavailable": 502,
    "upstream_invalid": 502,
    # It was not asked, and may be later.
    "circuit_open": 503,
    "bulkhead_full": 503,
    "address_refused": 403,
    "poison_message": 422,
    "invalid_cursor": 400,
    "precondition_failed": 412,
    "idempotency_key_reused": 422,
    "request_in_progress": 409,
    "outcome_unknown": 409,
}
_HIDDEN = frozenset({"internal", "configuration"})
_UNKNOWN = "the request failed in a way we did not foresee; quote the request id when you report it"
_RESERVED = frozenset({"type", "title", "status", "detail", "code", "retryable", "request_id"})
CODE_BY_STATUS = {
    400: "malformed_input",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "payload_too_large",
    414: "target_too_long",
    415: "unsupported_format",
    421: "misdirected_request",
    431: "head_too_large",
}
"""Of what is refused before there is an error of ours."""

_UNSAID = {
    404: "there is nothing at this address",
    405: "this address does not take the method; Allow names those that it takes",
}
"""What Starlette leaves at the name of the status."""

Handler = Callable[[Any, Exception], Awaitable[Response | None]]


def problem(status: int, code: str, detail: str, **members: object) -> Response:
    """A problem document; `members` become its extension members."""
    document = {
        "type": f"urn:devops-mcp:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail.encode("utf-8", "backslashreplace").decode("utf-8"),
        "code": code,
        **members,
    }
    return Response(
        orjson.dumps(document, default=str, option=orjson.OPT_NON_STR_KEYS), status, media_type=MEDIA_TYPE
    )


def of_error(error: PlatformError, request_id: str | None = None) -> Response:
    """The problem document of one of our errors, with `Retry-After` and `WWW-Authenticate` where they belong."""
    status = STATUS_BY_CODE.get(error.code, 500)
    hidden = error.code in _HIDDEN
    members: dict[str, object] = (
        {} if hidden else {k: v for k, v in error.details.items() if k not in _RESERVED}
    )
    detail = _UNKNOWN if hidden else error.message
    response = problem(
        status, error.code, detail, retryable=error.retryable, request_id=request_id, **members
    )
    if error.retry_after_s is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, RateLimited):
        response.headers.update(error.headers)
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def of_unknown(request_id: str | None = None) -> Response:
    """What a caller sees of an error nobody foresaw: nothing of its text."""
    return problem(500, PlatformError.code, _UNKNOWN, retryable=False, request_id=request_id)


def exception_handlers() -> dict[Any, Handler]:
    """For `Starlette(exception_handlers=...)`: problem documents for ours, for Starlette's own and for unknown errors.

    Before a WebSocket is accepted they deny the handshake with the same document.
    """
    return {
        PlatformError: _on_exception,
        HTTPException: _on_exception,
        ClientDisconnect: _on_exception,
        Exception: _on_exception,
    }


def of_exception(error: Exception, request_id: str | None) -> Response:
    """The problem document of an exception of whatever kind: ours, Starlette's, of a client that has left, or unknown."""
    if isinstance(error, PlatformError):
        structlog.contextvars.bind_contextvars(error=error.code)
        return of_error(error, request_id)
    if isinstance(error, HTTPException):
        return _of_http_exception(error, request_id)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=499)  # never arrives; for log and metrics
    return of_unknown(request_id)


def _of_http_exception(error: HTTPException, request_id: str | None) -> Response:
    code = CODE_BY_STATUS.get(
        error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    )
    unsaid = error.detail == HTTPStatus(error.status_code).phrase
    detail = _UNSAID.get(error.status_code, error.detail) if unsaid else error.detail
    response = problem(error.status_code, code, detail, retryable=False, request_id=request_id)
    response.headers.update(error.headers or {})
    return response


async def _on_exception(connection: HTTPConnection, error: Exception) -> Response | None:
    if isinstance(error, ClientDisconnect) and not isinstance(connection, Request):
        return None
    return await _answer(connection, of_exception(error, _request_id(connection)))


async def _answer(connection: HTTPConnection, response: Response) -> Response | None:
    if not isinstance(connection, WebSocket):
        return response
    if connection.client_state is WebSocketState.CONNECTING:
        await connection.send_denial_response(response)
    else:
        await connection.close(1011)
    return None


def _request_id(connection: HTTPConnection) -> str | None:
    request_id: str | None = connection.scope.get("state", {}).get("request_id")
    return request_id

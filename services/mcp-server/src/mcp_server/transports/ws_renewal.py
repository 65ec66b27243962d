"""Another credential for an open WebSocket, so that a connection outlasts the access token that it began with.

The request `io.devops-mcp/authenticate` carries what the header `Authorization` would, and is answered by the transport itself, in either
era. The connection stays its caller's: another caller's credential is refused, and the one before goes on to hold.
"""

from typing import Any

import mcp_types as types
import orjson

from devops_mcp.models.errors import Forbidden, PlatformError, Unauthenticated
from mcp_server.caller import UNAUTHENTICATED, Caller

METHOD = "io.devops-mcp/authenticate"


async def answer_of_renewal(request: dict[str, Any], caller: Caller) -> bytes:
    """The answer to a request that brings a credential."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request["id"], **await _outcome(request, caller)})


async def _outcome(message: dict[str, Any], caller: Caller) -> dict[str, Any]:
    credential = message.get("params", {}).get("authorization")
    if not isinstance(credential, str):
        said = "params.authorization must be what the header 'Authorization' would say"
        return {"error": {"code": types.INVALID_PARAMS, "message": said}}
    try:
        await caller.renew({"authorization": credential})
    except (Unauthenticated, Forbidden) as error:
        return {"error": {"code": UNAUTHENTICATED, "message": error.message}}
    except PlatformError as error:
        return {"error": {"code": types.INTERNAL_ERROR, "message": error.message, "data": _judged(error)}}
    return {"result": {}}


def _judged(error: PlatformError) -> dict[str, Any]:
    """Whether the same credential may be taken later."""
    judged: dict[str, Any] = {"code": error.code, "retryable": error.retryable}
    return judged if error.retry_after_s is None else {**judged, "retry_after_s": error.retry_after_s}

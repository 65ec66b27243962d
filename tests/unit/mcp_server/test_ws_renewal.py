"""What a client hears that brings another credential over its open connection."""

from typing import Any

import orjson
import pytest

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.models.errors import Internal, PlatformError, Unauthenticated, Unavailable
from devops_mcp.models.principals import FoundKey
from mcp_server.caller import Caller
from mcp_server.transports.ws_renewal import METHOD, answer_of_renewal

KEY = "dm_" + "a" * 12 + "_" + "b" * 43


@pytest.mark.parametrize(
    ("trouble", "code", "data"),
    [
        (Unauthenticated("the API key is not valid"), -32001, None),
        (
            Unavailable("nobody can be asked", retry_after_s=2),
            -32603,
            {"code": "unavailable", "retryable": True, "retry_after_s": 2},
        ),
        (Internal("it is in the log"), -32603, {"code": "internal", "retryable": False}),
    ],
)
async def test_only_a_credential_that_is_refused_is_said_to_be(
    trouble: PlatformError, code: int, data: dict[str, Any] | None
):
    async def find(prefix: str) -> list[FoundKey]:
        raise trouble

    params = {"authorization": f"Bearer {KEY}"}
    message = {"jsonrpc": "2.0", "id": "r", "method": METHOD, "params": params}
    answer = orjson.loads(await answer_of_renewal(message, Caller(Authenticator(find), {})) or "{}")
    assert answer["error"].get("data") == data
    assert (answer["error"]["code"], answer["error"]["message"]) == (code, trouble.message)

"""logging/setLevel of the handshake era; from 2026-07-28 on each request says which level it wants."""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

from mcp_server.conversation import LEVEL_KEY


async def set_level(
    ctx: ServerRequestContext[Any, Any], params: types.SetLevelRequestParams
) -> types.EmptyResult:
    """From now on this connection hears of `level` and what is graver."""
    ctx.session._connection.state[LEVEL_KEY] = params.level
    return types.EmptyResult()

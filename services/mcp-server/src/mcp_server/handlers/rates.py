"""How often a caller may ask for what is no plain call of a tool: as often as rest-api lets it, of the same permits.

A call of a tool that goes the short way has a rate of its own (`ToolService`). A ping has none, on either way: who is refused one takes
the connection for dead, and connects again, which costs more than the answer; it asks nobody, like the frames that are not answered at all.
"""

from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import ErrorData

from devops_mcp.models.errors import RateLimited
from devops_mcp.operations.caller_rates import CallerRates
from mcp_server.caller import principal_of
from mcp_server.plain_requests import PING

RATE_LIMITED = -32004
"""Our own code, in the range that JSON-RPC leaves to servers."""


class RequestRates:
    """A middleware of the protocol's server. What goes the short way does not come by here, and asks itself."""

    def __init__(self, rates: CallerRates | None) -> None:
        self._rates = rates

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if self._rates is not None and ctx.request_id is not None and ctx.method != PING:
            try:
                await self._rates.take(await principal_of(ctx))
            except RateLimited as error:
                raise MCPError.from_error_data(too_often(error)) from None
        return await call_next(ctx)


def too_often(error: RateLimited) -> ErrorData:
    """The error as the protocol tells it."""
    judged = {"code": error.code, "retryable": True, "retry_after_s": error.retry_after_s}
    return ErrorData(code=RATE_LIMITED, message=error.message, data=judged)

"""Systems that are polled."""

from devops_mcp.models.pages import Page
from devops_mcp.operations.pollers import PollerView
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams

TAG = "events"


async def list_pollers(call: Call[NoParams, NoBody]) -> Page[PollerView]:
    """List the pollers that are to run, with when each last looked, what went wrong and how old its picture of the system is."""
    return await call.platform.pollers.page(call.principal)


POLLERS: tuple[AnyEndpoint, ...] = (Endpoint("GET", "/api/v1/pollers", TAG, list_pollers, Page[PollerView]),)

"""What was used: calls of tools, and embeddings."""

from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import Model, Moment
from devops_mcp.models.embeddings import UsageReport
from devops_mcp.models.usage import ToolUsageReport, ToolUsageWanted
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody

TAG = "usage"


class EmbeddingUsageWanted(Model):
    """Days (UTC) from `since` to before `until`; default: the last 30 days. Without `principal_id` everybody's."""

    principal_id: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(default=100, ge=1, le=1_000)


async def get_tool_usage(call: Call[ToolUsageWanted, NoBody]) -> ToolUsageReport:
    """Get which tools were called how often, by whom and on which day, how long that took and what it gave back.

    A call is counted within a second, on every transport alike; one that a task makes is its owner's.
    """
    return await call.platform.usage.of_tools(call.principal, call.params)


async def get_embedding_usage(call: Call[EmbeddingUsageWanted, NoBody]) -> UsageReport:
    """Get what embedding cost, by day, principal and model, newest first; what this machine computed costs nothing."""
    params = call.params
    return await call.platform.embeddings.usage(
        call.principal,
        principal_id=params.principal_id,
        since=params.since,
        until=params.until,
        limit=params.limit,
    )


USAGE: tuple[AnyEndpoint, ...] = (
    Endpoint("GET", "/api/v1/usage/tools", TAG, get_tool_usage, ToolUsageReport, params=ToolUsageWanted),
    Endpoint(
        "GET",
        "/api/v1/usage/embeddings",
        TAG,
        get_embedding_usage,
        UsageReport,
        params=EmbeddingUsageWanted,
    ),
)

"""GitHub's tools, one file a resource."""

from devops_mcp.adapters.base import AnyTool
from devops_mcp.adapters.github.tools import (
    account,
    actions,
    commits,
    file_changes,
    files,
    issues,
    logs,
    pull_changes,
    pulls,
    releases,
    search,
    security,
)

TOOLS: tuple[AnyTool, ...] = (
    *search.TOOLS,
    *files.TOOLS,
    *commits.TOOLS,
    *issues.TOOLS,
    *pulls.TOOLS,
    *pull_changes.TOOLS,
    *actions.TOOLS,
    *logs.TOOLS,
    *file_changes.TOOLS,
    *releases.TOOLS,
    *security.TOOLS,
    *account.TOOLS,
)

"""The tools that are the suite's own, of every kind."""

from typing import Any

from devops_mcp.adapters.base import Tool
from devops_mcp.operations.agent_tools import AGENT_TOOLS
from devops_mcp.operations.front_door import FRONT_DOOR_TOOLS
from devops_mcp.operations.memory_tools import MEMORY_TOOLS
from devops_mcp.operations.search_tools import SEARCH_TOOLS
from devops_mcp.operations.suite_tools import SUITE_TOOLS, Desk
from devops_mcp.operations.task_tools import TASK_TOOLS

OWN_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    *FRONT_DOOR_TOOLS,
    *SUITE_TOOLS,
    *SEARCH_TOOLS,
    *MEMORY_TOOLS,
    *TASK_TOOLS,
    *AGENT_TOOLS,
)

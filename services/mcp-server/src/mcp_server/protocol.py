"""The protocol's core: one low-level server, whatever transport and revision a client speaks."""

from importlib.metadata import version
from typing import Any

from mcp.server.lowlevel.server import Server

from devops_mcp.operations.catalogue import Catalogue
from devops_mcp.operations.feed import EventFeed
from devops_mcp.operations.suite_tools import Suite
from devops_mcp.operations.tools import ToolService
from mcp_server.handlers.resources import ResourceHandlers
from mcp_server.handlers.subscriptions import SubscriptionHandlers
from mcp_server.handlers.tools import ToolHandlers

NAME = "devops-mcp"
INSTRUCTIONS = """\
Tools for the systems that run software, each named <system>_<object>_<verb>. Results are cut to fit; read the whole of one by its
handle with result_read. Start a context (context_create) for lasting work, append what you learn, and ask context_search before you
investigate anew: it searches contexts and the events of all systems. Subscribe to devops://events/<system>/<subject> to hear of events."""


def build_server(
    catalogue: Catalogue, tools: ToolService, suite: Suite, feed: EventFeed
) -> Server[dict[str, Any]]:
    """The server with every capability it has."""
    tool_handlers = ToolHandlers(tools)
    resources = ResourceHandlers(suite)
    subscriptions = SubscriptionHandlers(feed)
    return Server(
        NAME,
        version=version("devops-mcp"),
        title="DevOps MCP",
        instructions=INSTRUCTIONS,
        # Without this the SDK lists all tools on every call over HTTP, to look for one schema.
        get_tool_input_schema=catalogue.input_schema,
        on_list_tools=tool_handlers.list,
        on_call_tool=tool_handlers.call,
        on_list_resources=resources.list,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
    )

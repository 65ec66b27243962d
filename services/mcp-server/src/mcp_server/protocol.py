"""The protocol's core: one low-level server, whatever transport and revision a client speaks."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.models import InitializationOptions
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity

from devops_mcp.auth.keyring import Keyring
from devops_mcp.operations.change_feed import ChangeFeed
from devops_mcp.operations.feed import EventFeed
from devops_mcp.operations.platform import Platform
from devops_mcp.operations.skills import SkillLibrary
from mcp_server.caller import known_principal
from mcp_server.fast_calls import FastCalls
from mcp_server.handlers.completion import CompletionHandlers
from mcp_server.handlers.handshake_tasks import HandshakeTasks
from mcp_server.handlers.logging import set_level
from mcp_server.handlers.prompts import PromptHandlers
from mcp_server.handlers.rates import RequestRates
from mcp_server.handlers.resources import ResourceHandlers
from mcp_server.handlers.skills import EXTENSION as SKILLS
from mcp_server.handlers.skills import SETTINGS, DirectoryParams, SkillHandlers, UriParams
from mcp_server.handlers.subscriptions import SubscriptionHandlers
from mcp_server.handlers.tasks import EXTENSION as TASKS
from mcp_server.handlers.tasks import TaskHandlers, TaskParams, UpdateParams
from mcp_server.handlers.tools import ToolHandlers

NAME = "devops-mcp"
INSTRUCTIONS = """\
Tools for the systems that run software, each named <system>_<object>_<verb>. The list holds the suite's own; find the others with
tools_search, read their arguments with tools_describe, and call them with tools_read or tools_call. Results are cut to fit; read the
whole of one by its handle with result_read. Start a context (context_create) for lasting work, append what you learn, and ask
context_search before you investigate anew: it searches contexts and the events of all systems. What takes minutes goes on as a task
(task_start). Subscribe to devops://events/<system>/<subject> to hear of events."""


class _Server(Server[dict[str, Any]]):
    """Declares that lists may change, to clients of the handshake era too."""

    def create_initialization_options(
        self, notification_options: NotificationOptions | None = None, *args: Any, **options: Any
    ) -> InitializationOptions:
        told = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().create_initialization_options(notification_options or told, *args, **options)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The server with every capability it has, and the short way beside it."""

    server: Server[dict[str, Any]]
    fast: FastCalls


def build_protocol(platform: Platform, feed: EventFeed, changes: ChangeFeed) -> Protocol:
    """What answers messages, whichever transport brings them."""
    library = SkillLibrary()
    skills = SkillHandlers(library)
    resources = ResourceHandlers(
        platform.suite, platform.adapter_resources, library, platform.integrations, platform.audit
    )
    tasks = TaskHandlers(platform.tasks, changes)
    subscriptions = SubscriptionHandlers(feed, changes, resources, tasks)
    tools = ToolHandlers(platform.tools, platform.tasks, subscriptions)
    prompts = PromptHandlers(platform.prompts, subscriptions)
    completion = CompletionHandlers(platform.prompts, platform.adapter_resources, resources)
    server = _Server(
        NAME,
        version=version("devops-mcp"),
        title="DevOps MCP",
        instructions=INSTRUCTIONS,
        # Without this the SDK lists all tools on every call over HTTP, to look for one schema.
        get_tool_input_schema=platform.catalogue.input_schema,
        on_list_tools=tools.page,
        on_list_resources=resources.page,
        on_list_resource_templates=resources.templates,
        on_read_resource=resources.read,
        on_subscribe_resource=subscriptions.subscribe,
        on_unsubscribe_resource=subscriptions.unsubscribe,
        on_subscriptions_listen=subscriptions.listen,
        on_list_prompts=prompts.page,
        on_get_prompt=prompts.get,
        on_completion=completion.complete,
    )
    server.add_request_handler("tools/call", types.CallToolRequestParams, tools.call)
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)
    server.add_request_handler("tasks/get", TaskParams, tasks.get)
    server.add_request_handler("tasks/update", UpdateParams, tasks.update)
    server.add_request_handler("tasks/cancel", TaskParams, tasks.cancel)
    server.add_request_handler("tasks/result", TaskParams, tasks.result)
    server.add_request_handler("tasks/list", types.PaginatedRequestParams, tasks.page)
    server.add_request_handler("skills/list", types.PaginatedRequestParams, skills.page)
    server.add_request_handler("skills/get", UriParams, skills.get)
    server.add_request_handler("resources/directory/read", DirectoryParams, skills.directory)
    server.add_notification_handler(
        "notifications/initialized", types.NotificationParams, subscriptions.resume
    )
    server.extensions |= {TASKS: {}, SKILLS: SETTINGS}
    server.middleware.append(RequestRates(platform.request_rates))
    server.middleware.append(RequestStateBoundary(_sealing(platform.keyring), default_audience=NAME))
    server.middleware.append(HandshakeTasks(platform.tools, platform.tasks, subscriptions))
    fast = FastCalls(
        platform.tools, tools, platform.integrations, server.server_info_stamp, platform.request_rates
    )
    return Protocol(server, fast)


def _sealing(keyring: Keyring) -> RequestStateSecurity:
    """What a client carries between the rounds of a call is sealed with keys that all replicas share, for who began the call."""
    return RequestStateSecurity(keys=keyring.keys("request state"), bind_principal=_bound_to)


def _bound_to(ctx: ServerRequestContext[Any, Any]) -> str:
    principal = known_principal(ctx)
    return f"{principal.tenant_id}/{principal.id}"

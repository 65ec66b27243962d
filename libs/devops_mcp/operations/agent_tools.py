"""The suite's tools for agents: present oneself as one, say that one lives, and find the others."""

from datetime import datetime
from typing import Any
from uuid import UUID

from devops_mcp.adapters.base import Effect, Listing, ListParams, Tool, WriteParams, WriteResult
from devops_mcp.models.agents import Agent, AgentIntroduction, AgentState, AgentsWanted, Heartbeat
from devops_mcp.models.base import Model
from devops_mcp.models.errors import NotFound
from devops_mcp.models.pages import Order
from devops_mcp.operations.agents import WRITE
from devops_mcp.operations.contexts import require
from devops_mcp.operations.suite_tools import Desk, as_uuid


class AgentRegisterParams(AgentIntroduction, WriteParams):
    pass


class AgentHeartbeatParams(Heartbeat, WriteParams):
    pass


class AgentListParams(AgentsWanted, ListParams):
    pass


class AgentView(Model):
    """An agent in short; `able` is what it can do now. `id` is the principal that acts as it."""

    id: UUID
    name: str
    description: str
    capabilities: tuple[str, ...]
    able: tuple[str, ...]
    state: AgentState
    seen_at: datetime | None


async def agent_register(desk: Desk, params: AgentRegisterParams) -> WriteResult:
    """Present yourself as an agent, with what you can do; again to change that. Then send agent_heartbeat every 10 s."""
    draft = AgentIntroduction(**params.model_dump(include=set(AgentIntroduction.model_fields)))
    if params.dry_run:
        require(desk.principal, WRITE)
        return WriteResult(dry_run=True, done=f"would present you as the agent {draft.name!r}")
    agent = await desk.suite.agents.present(desk.principal, draft)
    return WriteResult(
        done=f"you are the agent {agent.name!r}",
        data={"agent_id": str(agent.id), "capabilities": [*agent.capabilities], "state": agent.state},
    )


async def agent_heartbeat(desk: Desk, params: AgentHeartbeatParams) -> WriteResult:
    """Say that you live, how you are and what you can do now; agents that are silent for 30 s count as lost."""
    heartbeat = Heartbeat(**params.model_dump(include=set(Heartbeat.model_fields)))
    if params.dry_run:
        require(desk.principal, WRITE)
        return WriteResult(dry_run=True, done=f"would say that you are {heartbeat.state}")
    try:
        agent = await desk.suite.agents.heartbeat(desk.principal, desk.principal.id, heartbeat)
    except NotFound as error:
        raise NotFound(f"{error.message}; present yourself with agent_register first") from None
    until = agent.lives_until.isoformat() if agent.lives_until else None
    return WriteResult(
        done=f"you are {agent.state}",
        data={"agent_id": str(agent.id), "able": [*agent.able], "lives_until": until},
    )


async def agent_list(desk: Desk, params: AgentListParams) -> Listing[AgentView]:
    """List the tenant's agents: what each can do, and whether it lives; those able to do something with `able`."""
    page = await desk.suite.agents.page(
        desk.principal,
        limit=params.limit,
        order=Order(after_id=as_uuid(params.cursor)),
        wanted=AgentsWanted(**params.model_dump(include=set(AgentsWanted.model_fields))),
    )
    return Listing[AgentView](items=[_view(agent) for agent in page.items], next_cursor=page.next_cursor)


AGENT_TOOLS: tuple[Tool[Desk, Any, Any], ...] = (
    Tool(
        "agent_register",
        "Present yourself as an agent",
        AgentRegisterParams,
        WriteResult,
        agent_register,
        Effect.WRITE,
        idempotent=True,
        essential=False,
    ),
    Tool(
        "agent_heartbeat",
        "Say that you live",
        AgentHeartbeatParams,
        WriteResult,
        agent_heartbeat,
        Effect.WRITE,
        idempotent=True,
        essential=False,
        sign_of_life=True,
    ),
    Tool("agent_list", "List agents", AgentListParams, Listing[AgentView], agent_list, essential=False),
)


def _view(agent: Agent) -> AgentView:
    return AgentView(**agent.model_dump(include=set(AgentView.model_fields)))

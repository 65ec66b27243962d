"""Agents: what they can do, and whether they live."""

from typing import Literal, TypeAlias
from uuid import UUID

from devops_mcp.models.agents import Agent, AgentDraft, AgentsWanted, Heartbeat, NewAgent
from devops_mcp.models.base import Model
from devops_mcp.models.pages import Page
from rest_api.endpoint import AnyEndpoint, Call, Endpoint, NoBody, NoParams, Nothing
from rest_api.listing import Listing

TAG = "agents"


class OneAgent(Model):
    agent_id: UUID


AgentSort: TypeAlias = Literal[
    "-registered_at", "registered_at", "-updated_at", "updated_at", "-name", "name"
]


class AgentPage(AgentsWanted, Listing[AgentSort]):
    """A page of agents. `cursor` is `next_cursor` of the page before."""

    sort: AgentSort = "-registered_at"


async def register_agent(call: Call[NoParams, NewAgent]) -> Agent:
    """Register the caller as an agent, or another principal for who may manage them all.

    An agent is an API key or a user: by its id go its contexts, its tasks, its embedding model and its usage. Give each agent a key of its
    own. It counts as alive once it sends heartbeats.
    """
    return await call.platform.agents.register(call.principal, call.body)


async def list_agents(call: Call[AgentPage, NoBody]) -> Page[Agent]:
    """List the tenant's agents, the latest registered first unless `sort` says otherwise."""
    params = call.params
    return await call.platform.agents.page(
        call.principal, limit=params.limit, order=params.order, wanted=params.part(AgentsWanted)
    )


async def get_agent(call: Call[OneAgent, NoBody]) -> Agent:
    """Get one agent."""
    return await call.platform.agents.get(call.principal, call.params.agent_id)


async def replace_agent(call: Call[OneAgent, AgentDraft]) -> Agent:
    """Present an agent anew; its heartbeats go on. They are no part of the version that `If-Match` compares."""
    return await call.platform.agents.replace(call.principal, call.params.agent_id, call.body)


async def delete_agent(call: Call[OneAgent, NoBody]) -> Nothing:
    """Remove an agent; its key, its contexts and its tasks stay."""
    await call.platform.agents.delete(call.principal, call.params.agent_id)
    return Nothing()


async def send_heartbeat(call: Call[OneAgent, Heartbeat]) -> Agent:
    """Say that the calling agent lives, how it is and what it can do now; every 10 seconds, or it is lost after 30."""
    return await call.platform.agents.heartbeat(call.principal, call.params.agent_id, call.body)


_ALL = "/api/v1/agents"
_ONE = f"{_ALL}/{{agent_id}}"
AGENTS: tuple[AnyEndpoint, ...] = (
    Endpoint("POST", _ALL, TAG, register_agent, Agent, body=NewAgent, status=201, errors=(404, 409)),
    Endpoint("GET", _ALL, TAG, list_agents, Page[Agent], params=AgentPage),
    Endpoint("GET", _ONE, TAG, get_agent, Agent, params=OneAgent, errors=(404,)),
    Endpoint(
        "PUT",
        _ONE,
        TAG,
        replace_agent,
        Agent,
        params=OneAgent,
        body=AgentDraft,
        errors=(404, 409),
        lock=lambda tx, params: tx.agents.lock(params.agent_id),
        needs="agents:write",
    ),
    Endpoint("DELETE", _ONE, TAG, delete_agent, Nothing, params=OneAgent, status=204, errors=(404,)),
    Endpoint(
        "POST",
        f"{_ONE}/heartbeat",
        TAG,
        send_heartbeat,
        Agent,
        params=OneAgent,
        body=Heartbeat,
        errors=(404,),
    ),
)

"""Events about agents: that one has registered, is lost, or is back."""

from collections.abc import Sequence
from typing import Literal

from devops_mcp.events.model import AgentEvent
from devops_mcp.models.agents import Agent
from devops_mcp.models.base import OWN_SYSTEM, Clock, utc_now
from devops_mcp.models.ids import new_id
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

Kind = Literal["agent.registered", "agent.lost", "agent.returned"]
_TOLD: dict[Kind, str] = {
    "agent.registered": "registered",
    "agent.lost": "is lost: it has sent no heartbeat",
    "agent.returned": "is back",
}


async def publish(tx: Transaction, kind: Kind, agents: Sequence[Agent], now: Clock = utc_now) -> None:
    """Tell it of each of the agents, once the transaction is committed."""
    if agents:
        events = [
            AgentEvent(
                type=kind,
                id=new_id(),
                tenant_id=tx.tenant_id,
                system=OWN_SYSTEM,
                source=OWN_SYSTEM,
                subject=agent.name,
                title=f"agent {agent.name} {_TOLD[kind]}",
                actor=agent.name,
                occurred_at=now(),
                agent_id=agent.id,
                capabilities=agent.capabilities,
            )
            for agent in agents
        ]
        await tx.events.publish(events, [current_traceparent()] * len(events))


async def tell_lost(database: Database) -> int:
    """Tell of agents that have just been lost, of every tenant; how many. Only the worker's role may."""
    told = 0
    for tenant_id in await database.tenants_with_lost_agents():
        async with database.transaction(tenant_id) as tx:
            lost = [await tx.agents.find(agent_id) for agent_id in await tx.agents.mark_lost()]
            await publish(tx, "agent.lost", [agent for agent in lost if agent is not None])
            told += len(lost)
    return told

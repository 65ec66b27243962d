"""Agents, where two change one of them at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from redis.asyncio import Redis

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.agents import AgentDraft, AgentIntroduction
from devops_mcp.models.errors import Forbidden
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.repositories.database import open_database
from support.services import new_key

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
FIXER = AgentIntroduction(name="fixer")


@asynccontextmanager
async def a_choice_meanwhile(
    database, model: str, *grants: str
) -> AsyncIterator[tuple[AgentService, Principal]]:
    """An agent whose administrator has chosen the model and commits once somebody else, in this block, waits to change the agent."""
    agent = Principal(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="x", grants=grants
    )
    await new_key(database.owner_url, id=agent.id)
    async with open_database(database.app_url, pool_size=2, application="test") as app:
        agents = AgentService(app, EmbeddingService(app, EmbeddingModels(), QuotaKeeper(app, Redis())))
        await agents.present(agent, FIXER)
        with psycopg.connect(database.superuser_url) as administrator:
            administrator.execute("SELECT FROM agents WHERE id = %s FOR UPDATE", (agent.id,))
            administrator.execute(
                "INSERT INTO embedding_choices (tenant_id, owner_id, model, space) VALUES (%s, %s, %s, 's')",
                (DEFAULT_TENANT_ID, agent.id, model),
            )
            committing = asyncio.create_task(_commit_once_awaited(database, administrator))
            yield agents, agent
            await committing


async def _commit_once_awaited(database, administrator: psycopg.Connection) -> None:
    with psycopg.connect(database.superuser_url, autocommit=True) as watching:
        async with asyncio.timeout(30):
            while watching.execute(BLOCKED).fetchone() is None:
                await asyncio.sleep(0.01)
    administrator.commit()


async def test_an_agent_that_presents_itself_keeps_the_model_that_an_administrator_gives_it_meanwhile(
    database,
):
    async with a_choice_meanwhile(database, "small", "agents:write") as (agents, agent):
        presented = await agents.present(agent, FIXER)
    assert presented.embedding_model == "small"


async def test_who_may_not_choose_a_model_takes_none_back_that_an_administrator_gives_meanwhile(database):
    """A18: what was no choice when it was looked at has become one."""
    draft = AgentDraft(name="fixer", capabilities=("helm",))
    async with a_choice_meanwhile(database, "small", "agents:write", "agents:read") as (agents, agent):
        with pytest.raises(Forbidden, match="embeddings:choose"):
            await agents.replace(agent, agent.id, draft)
        kept = await agents.get(agent, agent.id)
    assert (kept.embedding_model, kept.capabilities) == ("small", ())

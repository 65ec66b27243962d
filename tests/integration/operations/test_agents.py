"""Agents, where two change one of them at once."""

import asyncio

import psycopg
from redis.asyncio import Redis

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.agents import AgentIntroduction
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.repositories.database import open_database
from support.services import new_key

BLOCKED = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_an_agent_that_presents_itself_keeps_the_model_that_an_administrator_gives_it_meanwhile(
    database,
):
    agent = Principal(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="x", grants=("agents:write",)
    )
    await new_key(database.owner_url, id=agent.id)
    fixer = AgentIntroduction(name="fixer")
    async with open_database(database.app_url, pool_size=2, application="test") as app:
        agents = AgentService(app, EmbeddingService(app, EmbeddingModels(), QuotaKeeper(app, Redis())))
        await agents.present(agent, fixer)
        with (
            psycopg.connect(database.superuser_url, autocommit=True) as watching,
            psycopg.connect(database.superuser_url) as administrator,
        ):
            administrator.execute("SELECT FROM agents WHERE id = %s FOR UPDATE", (agent.id,))
            administrator.execute(
                "INSERT INTO embedding_choices (tenant_id, owner_id, model, space) VALUES (%s, %s, 'small', 's')",
                (DEFAULT_TENANT_ID, agent.id),
            )
            presenting = asyncio.create_task(agents.present(agent, fixer))
            async with asyncio.timeout(30):
                while watching.execute(BLOCKED).fetchone() is None:
                    await asyncio.sleep(0.01)
        assert (await presenting).embedding_model == "small"

"""Agents, and what each can do."""

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.agents import LIVES_FOR, Agent, AgentDraft, AgentsWanted, Heartbeat
from devops_mcp.models.pages import Order
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed

_SORTED: Columns = {"registered_at": "timestamptz", "updated_at": "timestamptz", "name": "text"}
_COLUMNS: LiteralString = """
    id, name, description, capabilities, metadata, embedding_model, state, able, seen_at, lives_until, registered_at, updated_at
"""
_SHOWN: LiteralString = """
    SELECT a.id, a.name, a.description, a.metadata, a.seen_at, a.registered_at, a.updated_at, a.capabilities,
        a.seen_at + %(lives_for)s AS lives_until,
        (SELECT e.model FROM embedding_choices AS e WHERE e.owner_id = a.id) AS embedding_model,
        CASE WHEN a.live THEN a.state WHEN a.seen_at IS NULL THEN 'registered' ELSE 'lost' END AS state,
        CASE WHEN a.live AND a.state <> 'draining' THEN
            ARRAY(SELECT one FROM unnest(a.capabilities) AS one WHERE a.able IS NULL OR one = ANY (a.able)) ELSE '{}' END AS able
    FROM (
        SELECT id, name, description, metadata, state, able, seen_at, registered_at, updated_at,
            coalesce(seen_at > now() - %(lives_for)s, false) AS live,
            ARRAY(SELECT c.capability FROM agent_capabilities AS c WHERE c.agent_id = id ORDER BY 1) AS capabilities
        FROM agents
    ) AS a
"""


class Agents:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, agent_id: UUID, draft: AgentDraft) -> bool:
        """False unless this is an API key or a user of the tenant that is no agent yet."""
        cursor = await self._connection.execute(
            """
            INSERT INTO agents (id, key_id, user_id, name, description, metadata)
            SELECT %(id)s, p.key_id, p.user_id, %(name)s, %(description)s, %(metadata)s
            FROM (SELECT id AS key_id, NULL::uuid AS user_id FROM api_keys WHERE id = %(id)s
                  UNION ALL SELECT NULL, id FROM users WHERE id = %(id)s) AS p
            ON CONFLICT DO NOTHING
            """,
            _values(agent_id, draft),
        )
        if cursor.rowcount != 1:
            return False
        await self._put_capabilities(agent_id, draft.capabilities)
        return True

    async def replace(self, agent_id: UUID, draft: AgentDraft) -> None:
        await self._connection.execute(
            """
            UPDATE agents SET name = %(name)s, description = %(description)s, metadata = %(metadata)s, updated_at = now()
            WHERE id = %(id)s
            """,
            _values(agent_id, draft),
        )
        await self._connection.execute(
            "DELETE FROM agent_capabilities WHERE agent_id = %s AND capability <> ALL (%s)",
            (agent_id, list(draft.capabilities)),
        )
        await self._put_capabilities(agent_id, draft.capabilities)

    async def beat(self, agent_id: UUID, heartbeat: Heartbeat) -> bool:
        """Whether it had been told of the agent that it is lost."""
        able = None if heartbeat.able is None else list(heartbeat.able)
        cursor = await self._connection.execute(
            """
            UPDATE agents SET state = %(state)s, able = %(able)s, seen_at = now(), told_lost = false
            FROM (SELECT told_lost FROM agents WHERE id = %(id)s FOR UPDATE) AS before
            WHERE id = %(id)s RETURNING before.told_lost
            """,
            {"id": agent_id, "state": heartbeat.state, "able": able},
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def mark_lost(self) -> list[UUID]:
        """The agents that are lost and of which that was not told yet; from now on it was."""
        cursor = await self._connection.execute(
            "UPDATE agents SET told_lost = true WHERE seen_at < now() - %s AND NOT told_lost RETURNING id",
            (LIVES_FOR,),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def find(self, agent_id: UUID) -> Agent | None:
        async with self._connection.cursor(row_factory=class_row(Agent)) as cursor:
            await cursor.execute(
                composed(
                    "SELECT {columns} FROM ({shown}) AS shown WHERE id = %(id)s",
                    columns=_COLUMNS,
                    shown=_SHOWN,
                ),
                {"id": agent_id, "lives_for": LIVES_FOR},
            )
            return await cursor.fetchone()

    async def lock(self, agent_id: UUID) -> None:
        """Until the transaction ends nobody else changes this agent."""
        await self._connection.execute("SELECT FROM agents WHERE id = %s FOR UPDATE", (agent_id,))

    async def page(self, wanted: AgentsWanted, order: Order, limit: int) -> list[Agent]:
        query = composed(
            """
            SELECT {columns} FROM ({shown}) AS shown
            WHERE {behind} AND (%(state)s::text IS NULL OR state = %(state)s)
                AND (%(capability)s::text IS NULL
                     OR id IN (SELECT agent_id FROM agent_capabilities AS c WHERE c.capability = %(capability)s))
                AND (%(able)s::text IS NULL OR %(able)s = ANY (able)
                     AND id IN (SELECT agent_id FROM agent_capabilities AS c WHERE c.capability = %(able)s))
                AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
            ORDER BY {order} LIMIT %(limit)s
            """,
            columns=_COLUMNS,
            shown=_SHOWN,
            behind=behind(_SORTED, order),
            order=by(_SORTED, order),
        )
        values = {"limit": limit, "lives_for": LIVES_FOR, **wanted.model_dump(), **values_of(order)}
        async with self._connection.cursor(row_factory=class_row(Agent)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def delete(self, agent_id: UUID) -> None:
        await self._connection.execute("DELETE FROM agents WHERE id = %s", (agent_id,))

    async def _put_capabilities(self, agent_id: UUID, capabilities: Sequence[str]) -> None:
        await self._connection.execute(
            "INSERT INTO agent_capabilities (capability, agent_id) SELECT unnest(%s::text[]), %s ON CONFLICT DO NOTHING",
            (list(capabilities), agent_id),
        )


def _values(agent_id: UUID, draft: AgentDraft) -> dict[str, object]:
    return {
        "id": agent_id,
        "name": draft.name,
        "description": draft.description,
        "metadata": Jsonb(draft.metadata),
    }

"""Agents of a tenant: who presents itself as one, what it can do, and whether it lives."""

from collections.abc import Callable
from uuid import UUID

from devops_mcp.models.agents import Agent, AgentDraft, AgentIntroduction, AgentsWanted, Heartbeat, NewAgent
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import Conflict, InvalidInput, NotFound, Violation
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.operations.agent_events import publish
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, denial, permit
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

READ = "agents:read"
WRITE = "agents:write"
ANY_OWNER = "agents:any_owner"


class _ChoosesModel(Exception):
    """An agent's embedding model would be another."""


class AgentService:
    """A principal presents itself, and who has `agents:any_owner` everybody; only an agent itself says that it lives."""

    def __init__(self, database: Database, embeddings: EmbeddingService, *, now: Clock = utc_now) -> None:
        self._database = database
        self._embeddings = embeddings
        self._now = now

    async def register(self, principal: Principal, draft: NewAgent) -> Agent:
        """Raises `Conflict` for who is an agent already, `InvalidInput` for who is no principal, `NotFound` for an unknown model."""
        agent_id = draft.principal_id or principal.id
        await self._permit(principal, agent_id)
        if draft.embedding_model is not None:
            await self._embeddings.permit_choice(principal, draft.embedding_model, agent_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            if await tx.principals.find(agent_id, self._now()) is None:
                problem = f"there is no API key or user {agent_id} that is good"
                raise InvalidInput(f"principal_id: {problem}", (Violation("body.principal_id", problem),))
            if not await tx.agents.add(agent_id, draft):
                raise Conflict(f"{agent_id} is registered as an agent already; change it, or delete it first")
            if draft.embedding_model is not None:
                await self._embeddings.choose_within(tx, principal, draft.embedding_model, agent_id)
            added = existing(await tx.agents.find(agent_id), agent_id)
            await tx.audit.append(
                [deed(principal, "agents.register", _target(agent_id), {"after": _about(added)})]
            )
            await publish(tx, "agent.registered", [added])
        return added

    async def present(self, principal: Principal, introduction: AgentIntroduction) -> Agent:
        """The principal as the agent that it says it is, whether it has been one before or not; its embedding model stays.

        Raises `Forbidden`, and `InvalidInput` for who is no principal.
        """
        said = introduction.model_dump()
        try:
            return await self.register(principal, NewAgent(**said))
        except Conflict:
            await self._for_change(principal, principal.id)
            return await self._put(
                principal,
                principal.id,
                lambda before: AgentDraft(**said, embedding_model=before.embedding_model),
            )

    async def page(
        self, principal: Principal, *, limit: int, order: Order, wanted: AgentsWanted
    ) -> Page[Agent]:
        require(principal, READ)
        found = await self._database.read(
            principal.tenant_id, lambda tx: tx.agents.page(wanted, order, limit + 1)
        )
        return order.page(found, limit)

    async def get(self, principal: Principal, agent_id: UUID) -> Agent:
        """Raises `NotFound`."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            return existing(await tx.agents.find(agent_id), agent_id)

    async def heartbeat(self, principal: Principal, agent_id: UUID, heartbeat: Heartbeat) -> Agent:
        """Raises `NotFound`, `Forbidden` for another's, and `InvalidInput` for what is none of its capabilities."""
        require(principal, WRITE)
        async with self._database.transaction(principal.tenant_id) as tx:
            agent = existing(await tx.agents.find(agent_id), agent_id)
            if agent_id == principal.id:
                _require_capable(agent, heartbeat)
                was_lost = await tx.agents.beat(agent_id, heartbeat)
                if was_lost:
                    await publish(tx, "agent.returned", [agent])
                return existing(await tx.agents.find(agent_id), agent_id)
        raise await denial(
            self._database, principal, "agents.heartbeat", _target(agent_id), f"is not the agent {agent_id}"
        )

    async def replace(self, principal: Principal, agent_id: UUID, draft: AgentDraft) -> Agent:
        """Present it anew. Raises as `register` does, and `NotFound`."""
        await self._for_change(principal, agent_id)
        try:
            return await self._put(principal, agent_id, lambda _: draft)
        except _ChoosesModel:
            await self._embeddings.permit_choice(principal, draft.embedding_model, agent_id)
        return await self._put(principal, agent_id, lambda _: draft, may_choose=True)

    async def _put(
        self,
        principal: Principal,
        agent_id: UUID,
        draft_of: Callable[[Agent], AgentDraft],
        *,
        may_choose: bool = False,
    ) -> Agent:
        """The agent as `draft_of` makes it from how it is, which nobody changes meanwhile.

        Raises `_ChoosesModel`, and changes nothing, where that is another embedding model and it was not looked whether the principal
        may choose.
        """
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.agents.lock(agent_id)
            before = existing(await tx.agents.find(agent_id), agent_id)
            draft = draft_of(before)
            chooses = draft.embedding_model != before.embedding_model
            if chooses and not may_choose:
                raise _ChoosesModel
            await tx.agents.replace(agent_id, draft)
            if chooses:
                await self._embeddings.choose_within(tx, principal, draft.embedding_model, agent_id)
            after = existing(await tx.agents.find(agent_id), agent_id)
            await _record(tx, principal, "agents.update", before, after)
        return after

    async def delete(self, principal: Principal, agent_id: UUID) -> None:
        """It is no agent any longer; its key, contexts and tasks stay. Raises `NotFound`."""
        await self._for_change(principal, agent_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.agents.lock(agent_id)
            before = existing(await tx.agents.find(agent_id), agent_id)
            await tx.agents.delete(agent_id)
            await _record(tx, principal, "agents.delete", before, None)

    async def _for_change(self, principal: Principal, agent_id: UUID) -> Agent:
        """The agent, if it is the principal itself, or everybody's are in its hands."""
        await permit(self._database, principal, WRITE, _target(agent_id))
        async with self._database.transaction(principal.tenant_id) as tx:
            agent = existing(await tx.agents.find(agent_id), agent_id)
        await self._permit(principal, agent_id)
        return agent

    async def _permit(self, principal: Principal, agent_id: UUID) -> None:
        await permit(self._database, principal, WRITE, _target(agent_id))
        if agent_id != principal.id:
            await permit(self._database, principal, ANY_OWNER, _target(agent_id))


def existing(agent: Agent | None, agent_id: UUID) -> Agent:
    if agent is None:
        raise NotFound(f"there is no agent {agent_id}")
    return agent


def _require_capable(agent: Agent, heartbeat: Heartbeat) -> None:
    unknown = set(heartbeat.able or ()) - set(agent.capabilities)
    if unknown:
        problem = f"{min(unknown)!r} is none of the agent's capabilities"
        raise InvalidInput(f"able: {problem}", (Violation("body.able", problem),))


async def _record(
    tx: Transaction, principal: Principal, action: str, before: Agent, after: Agent | None
) -> None:
    about: JsonObject = {"before": _about(before)}
    if after is not None:
        about["after"] = _about(after)
    await tx.audit.append([deed(principal, action, _target(before.id), about)])


def _about(agent: Agent) -> JsonObject:
    about: JsonObject = agent.model_dump(mode="json", include=set(AgentDraft.model_fields))
    return about


def _target(agent_id: UUID) -> str:
    return f"agent:{agent_id}"

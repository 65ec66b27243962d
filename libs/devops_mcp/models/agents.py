"""Agents: who presents itself as one, what it can do, and how it is."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias
from uuid import UUID

from pydantic import Field, StringConstraints

from devops_mcp.models.base import JsonObject, Metadata, Model

BEAT_EVERY = timedelta(seconds=10)
"""How often an agent is to say that it lives."""
LIVES_FOR = timedelta(seconds=30)
"""After a heartbeat; then it counts as lost, until the next."""

Capability: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.:/-]{0,99}$")]
Capabilities: TypeAlias = Annotated[tuple[Capability, ...], Field(max_length=100)]


class SaidState(StrEnum):
    """What an agent says of itself: `draining` finishes what it has, and takes nothing new."""

    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


class AgentState(StrEnum):
    """What an agent last said of itself; `registered` has said nothing yet, `lost` nothing for too long."""

    REGISTERED = "registered"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    LOST = "lost"


class AgentIntroduction(Model):
    """An agent as it presents itself. `capabilities` are words that those agree on who give tasks and those who take them."""

    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2_000)
    capabilities: Capabilities = Field(default=(), examples=[["github.review", "kubernetes"]])
    metadata: Metadata = Field(default_factory=dict)


class AgentDraft(AgentIntroduction):
    """An agent as it presents itself. `capabilities` are words that those agree on who give tasks and those who take them.

    `embedding_model` is what embeds its contexts; null: what the tenant has chosen.
    """

    embedding_model: str | None = Field(default=None, max_length=80)


class NewAgent(AgentDraft):
    """`principal_id` is the API key or user that acts as the agent: the caller, where it is left out."""

    principal_id: UUID | None = None


class Heartbeat(Model):
    """How an agent is now. `able` is what of its capabilities it can do at present; null: all of them."""

    state: SaidState = SaidState.IDLE
    able: Capabilities | None = None


class Agent(Model):
    """An agent. Its id is that of the principal which acts as it: the owner of its contexts and tasks.

    `able` is what it can do now: nothing while it is draining, lost, or has sent no heartbeat. It is lost at `lives_until`, unless there is
    another one before.
    """

    UNVERSIONED: ClassVar[frozenset[str]] = frozenset({"state", "able", "seen_at", "lives_until"})

    id: UUID
    name: str
    description: str
    capabilities: tuple[str, ...]
    metadata: JsonObject
    embedding_model: str | None
    state: AgentState
    able: tuple[str, ...]
    seen_at: datetime | None
    lives_until: datetime | None
    registered_at: datetime
    updated_at: datetime


class AgentsWanted(Model):
    """Which agents to list: those in a state, with a capability, `able` to do something now, and those whose name holds `name`."""

    state: AgentState | None = None
    capability: Capability | None = None
    able: Capability | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)

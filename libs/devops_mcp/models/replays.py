"""Replays: stored events of a range handed once more to one consumer."""

from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import Field, model_validator

from devops_mcp.models.base import Model
from devops_mcp.models.event_queries import EventsWanted


class ReplayConsumer(StrEnum):
    """`WEBHOOK`: an outgoing webhook's endpoint. `PROCESSING`: our own: what makes events searchable, and facts."""

    WEBHOOK = "webhook"
    PROCESSING = "processing"


class ReplayStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ReplayDraft(Model):
    """Which events go to whom. `events.since` begins the range; it ends at `events.until`, or now. `endpoint_id` with `webhook` only."""

    events: EventsWanted
    consumer: ReplayConsumer
    endpoint_id: UUID | None = None

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.events.since is None:
            raise ValueError("events.since is missing: where does the range begin?")
        if (self.endpoint_id is not None) != (self.consumer is ReplayConsumer.WEBHOOK):
            raise ValueError("endpoint_id belongs to the consumer 'webhook', which needs it")
        return self


class Replay(Model):
    """A replay as it stands: `done` of `total` events have been handed on, in the order in which they were received.

    `error` says why it failed. Those to an endpoint are deliveries with its id as `replay_id`.
    """

    id: UUID
    requested_by: UUID
    events: EventsWanted
    consumer: ReplayConsumer
    endpoint_id: UUID | None
    status: ReplayStatus
    total: int = Field(ge=0)
    done: int = Field(ge=0)
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

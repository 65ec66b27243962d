"""Outgoing webhooks: where integrators hear of events, and what was sent there."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import OWN_SYSTEM, Model

Glob = Annotated[str, Field(min_length=1, max_length=200)]
"""A pattern such as `build.*` or `acme/*`; `*` matches any characters, `?` one, `[ab]` one of these."""


class EventFilter(Model):
    """Which events are meant: of one of these types, from one of these integrations, and about one of these subjects. None named: any.

    Any but our own, such as calls of tools: who wants these names their type or source.
    """

    types: tuple[Glob, ...] = Field(default=(), max_length=50)
    sources: tuple[Glob, ...] = Field(default=(), max_length=50)
    subjects: tuple[Glob, ...] = Field(default=(), max_length=50)

    def matches(self, *, type_: str, source: str, subject: str) -> bool:
        if source == OWN_SYSTEM and not (self.types or self.sources):
            return False
        return _any(self.types, type_) and _any(self.sources, source) and _any(self.subjects, subject)


class EndpointDraft(Model):
    """What its owner says of an endpoint. Without a filter only rules send there."""

    name: str = Field(min_length=1, max_length=100)
    url: str = Field(min_length=1, max_length=2_000)
    filter: EventFilter | None = EventFilter()
    enabled: bool = True


class WebhookEndpoint(Model):
    """An endpoint as it is. `failing_since` is set while nothing gets through; `held_until`, while nothing is tried.

    `previous_until` is how long the secret before still signs besides the new one.
    """

    id: UUID
    name: str
    url: str
    filter: EventFilter | None
    enabled: bool
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    held_until: datetime | None
    previous_until: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointsWanted(Model):
    """Which endpoints to list: those whose name holds `name`, that are enabled or not, and through to which nothing gets, or something."""

    name: str | None = Field(default=None, min_length=1, max_length=100)
    enabled: bool | None = None
    failing: bool | None = None


class SealedSecrets(Model):
    """An endpoint's secrets as they are kept. The one before belongs to the version before."""

    secret: bytes = Field(repr=False)
    secret_version: int
    previous_secret: bytes | None = Field(repr=False)
    previous_until: datetime | None


class DeliveryStatus(StrEnum):
    """`PENDING` is on its way, or waits for its next attempt; `FAILED` was given up."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(Model):
    """One event on its way to one endpoint. `last_*` tell of the last attempt; `last_status` is None where there was no answer.

    `replay_id` is set where a replay sends it once more.
    """

    id: UUID
    endpoint_id: UUID
    event_id: UUID
    replay_id: UUID | None = None
    status: DeliveryStatus
    attempts: int
    next_at: datetime | None
    last_at: datetime | None
    last_status: int | None
    last_error: str | None
    last_duration_ms: float | None
    created_at: datetime


def _any(patterns: Sequence[str], value: str) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)

"""Pollers as their operators see them, and the turns that workers take."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model


class PollWanted(Model):
    """That a poller is to run, each `every_s`; null: as often as it does by itself. A system that asks for longer pauses gets them."""

    every_s: float | None = Field(default=None, ge=10, le=86_400)


class PollerStatus(StrEnum):
    """`WAITING` has not run yet; `FAILING` could not look the last time, and tries again."""

    WAITING = "waiting"
    OK = "ok"
    FAILING = "failing"


class PollerKey(NamedTuple):
    """A poller of one of the tenant's integrations."""

    integration: str
    poller: str


class PollerState(Model):
    """How a poller is doing. `begun_at` is when it last began to look, `ok_at` when it last had looked without an error.

    `failures` are those since. `events` counts what it has found, ever. `due_in` is the time until its next turn can be taken.
    """

    integration: str
    poller: str
    begun_at: datetime | None
    ok_at: datetime | None
    next_at: datetime
    failures: int
    error_code: str | None
    error: str | None
    events: int
    created_at: datetime
    due_in: timedelta

    @property
    def status(self) -> PollerStatus:
        if self.failures:
            return PollerStatus.FAILING
        return PollerStatus.OK if self.ok_at else PollerStatus.WAITING

    def lag(self, now: datetime) -> timedelta:
        """How old our picture of the system is; from the beginning, where there has been none yet."""
        return max(now - (self.ok_at or self.created_at), timedelta(0))


class Turn(Model):
    """A look that this worker is to make. What it writes counts only while `fence` is the latest."""

    fence: int
    cursor: JsonObject
    failures: int

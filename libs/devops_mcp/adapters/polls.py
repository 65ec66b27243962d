"""How a system is asked for what it does not tell: pollers, as values of its adapter."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from devops_mcp.events.model import Event
from devops_mcp.models.base import JsonObject

ClientT = TypeVar("ClientT")


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose webhook or poll it is: goes into every event made of it."""

    tenant_id: UUID
    integration: str


@dataclass(frozen=True, slots=True)
class Poll:
    """One look into a system: whose it is, where the last one ended (nothing at the first), and when it is made."""

    origin: Origin
    cursor: JsonObject
    at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """Something new that a poll found. `key` is what it is told by if it is found again; `payload` the system's own words for it."""

    event: Event
    key: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll found, oldest first, and where the next one begins.

    `pause` is how long the system wants to be left alone at least; with `more` the next poll follows at once.
    """

    found: Sequence[Found]
    cursor: JsonObject
    pause: timedelta = timedelta(0)
    more: bool = False


@dataclass(frozen=True, slots=True)
class Poller(Generic[ClientT]):
    """How a system is asked for what it does not tell: a function from a cursor to what is new since, and the next cursor.

    It keeps nothing: what it found is stored with the cursor, or neither is, and then it is asked again from the old one. `fetch` calls the
    system through `client` and raises its `UpstreamError`; it has `polling.DEADLINE_S`. A cursor is JSON, of some hundred kilobytes at
    most. `about` is one line for a person.
    """

    name: str
    about: str
    every: timedelta
    fetch: Callable[[ClientT, Poll], Awaitable[Polled]]

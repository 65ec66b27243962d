"""What all models have in common."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

JsonObject: TypeAlias = dict[str, JsonValue]

OWN_SYSTEM = "devops-mcp"
"""System and source of the events that we bring about ourselves; no adapter and no integration may have this name.

Of these hears who names them, by system, source or type. To everybody else an event is what happened in one of their systems.
"""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


class Model(BaseModel):
    """A frozen value; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

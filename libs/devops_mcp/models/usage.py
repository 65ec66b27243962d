"""What was used: calls of tools, added up."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeAlias
from uuid import UUID

from pydantic import Field, StringConstraints

from devops_mcp.models.base import Model, Moment

_PART = "(day|principal|system|tool)"
Parts: TypeAlias = Annotated[str, StringConstraints(pattern=f"^{_PART}(,{_PART}){{0,3}}$")]


@dataclass(frozen=True, slots=True)
class CallUsed:
    """What is to be known of a call besides its audit record: whose tool it was, and the tokens that it gave back."""

    system: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolsUsed:
    """What is added to a day's usage of a tool."""

    principal_id: UUID
    tool: str
    day: datetime
    system: str
    calls: int
    errors: int
    duration_ms: float
    tokens: int


class ToolUsageWanted(Model):
    """Days (UTC) from `since` to before `until`; default: the last 30 days. Without `principal_id` everybody's.

    `by` says what is told apart: `system` gives a sum for each system, `day,tool` one for each tool on each day.
    """

    principal_id: UUID | None = None
    tool: str | None = Field(default=None, min_length=1, max_length=64)
    system: str | None = Field(default=None, min_length=1, max_length=40)
    since: Moment | None = None
    until: Moment | None = None
    by: Parts = "day,principal,system,tool"
    limit: int = Field(default=100, ge=1, le=1_000)


class ToolUsageSums(Model):
    """Calls, those that ended with an error among them, the time they took and the tokens they gave back, as a language model counts."""

    calls: int
    errors: int
    duration_ms: float
    tokens: int


class ToolUsage(ToolUsageSums):
    """Those of a day, principal, system and tool; null is what was not told apart."""

    day: datetime | None
    principal_id: UUID | None
    system: str | None
    tool: str | None


class ToolUsageReport(ToolUsageSums):
    """Newest day first, then the most called. The sums are over all that the filters leave, also what is not listed."""

    items: tuple[ToolUsage, ...]

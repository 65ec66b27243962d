"""What was done, by whom, and how it ended."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from devops_mcp.models.base import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One action. `arguments` hold no secrets: they are masked before the record is made.

    Made of what was checked before, once a tool call, so it is no model that would check it again.
    """

    id: UUID
    tenant_id: UUID
    actor_id: UUID
    actor: str
    action: str
    target: str
    outcome: str
    error_code: str | None = None
    duration_ms: float
    arguments: JsonObject = field(default_factory=dict)
    trace_id: str | None = None
    at: datetime

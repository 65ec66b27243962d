"""What was done, by whom, and how it ended."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from devops_mcp.models.base import JsonObject, Model


class AuditRecord(Model):
    """One action. `arguments` hold no secrets: they are masked before the record is made."""

    id: UUID
    tenant_id: UUID
    actor_id: UUID
    actor: str
    action: str
    target: str
    outcome: str
    error_code: str | None = None
    duration_ms: float
    arguments: JsonObject = Field(default_factory=dict)
    trace_id: str | None = None
    at: datetime

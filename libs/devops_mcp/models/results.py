"""Results of tools that were too large for their reader, kept whole behind a handle."""

from datetime import datetime
from uuid import UUID

from devops_mcp.models.base import Model


class KeptResult(Model):
    """The full JSON text of a result; readable by its owner until `expires_at`."""

    id: UUID
    tenant_id: UUID
    owner_id: UUID
    tool: str
    body: str
    created_at: datetime
    expires_at: datetime


class Truncation(Model):
    """Marks a result that was cut. `handle` is what `result_read` takes; sizes are UTF-8 bytes of JSON."""

    handle: UUID | None
    shown_bytes: int
    total_bytes: int
    cut: tuple[str, ...]
    """Paths of the values that were cut, such as `items (25 of 117)`."""

"""Messages that the worker, or the queue itself, has given up."""

from datetime import datetime
from uuid import UUID

from devops_mcp.models.base import Model


class DeadLetterSummary(Model):
    """A dead letter without its body. `type` is None where the body is no message of ours; `trace` is the traceparent of its cause."""

    id: UUID
    queue: str
    message_id: str
    type: str | None
    reason: str
    attempts: int
    trace: str | None
    died_at: datetime


class DeadLetter(DeadLetterSummary):
    """With its body, which is null for who may not see payloads."""

    body: str | None

"""Asking the worker to sum a context up."""

from uuid import UUID

from devops_mcp.events.messages import CompactionRequested
from devops_mcp.events.queues import QueueName
from devops_mcp.models.ids import new_id
from devops_mcp.observability.tracing import current_traceparent
from devops_mcp.repositories.transaction import Transaction


async def request_compaction(
    tx: Transaction, context_id: UUID, *, keep_tokens: int, above: int | None
) -> bool:
    """Have the worker sum a context up once this transaction commits; whether it will for this.

    With `above`, only where more tokens than that wait and nobody is at it; None: in any case.
    """
    message = CompactionRequested(
        id=new_id(), tenant_id=tx.tenant_id, context_id=context_id, keep_tokens=keep_tokens
    )
    if above is None:
        await tx.compactions.take_over(context_id, message.id)
    elif not await tx.compactions.request(context_id, message.id, above):
        return False
    await tx.outbox.add(QueueName.CONTEXTS, message, trace=current_traceparent())
    return True

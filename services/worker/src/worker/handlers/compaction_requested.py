"""`compaction.requested`: a long context is summed up."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import CompactionRequested
from devops_mcp.operations.compaction import Compactor


async def handle(compactor: Compactor, tenant_id: UUID, messages: Sequence[CompactionRequested]) -> set[UUID]:
    return await compactor.process(tenant_id, messages)

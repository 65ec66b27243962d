"""`result.kept`: a result that was kept whole becomes searchable."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import ResultKept
from devops_mcp.operations.result_indexing import ResultIndexer


async def handle(indexer: ResultIndexer, tenant_id: UUID, messages: Sequence[ResultKept]) -> set[UUID]:
    return await indexer.process(tenant_id, messages)

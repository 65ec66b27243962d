"""`file.attached`: the text of a file that was attached to a context becomes searchable."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import FileAttached
from devops_mcp.operations.file_indexing import FileIndexer


async def handle(indexer: FileIndexer, tenant_id: UUID, messages: Sequence[FileAttached]) -> set[UUID]:
    return await indexer.process(tenant_id, messages)

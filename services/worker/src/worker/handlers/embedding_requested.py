"""`embedding.requested`: passages get their vectors."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.events.messages import EmbeddingRequested
from devops_mcp.models.errors import Unavailable
from devops_mcp.operations.vectors import PassageEmbedder


async def handle(
    embedder: PassageEmbedder | None, tenant_id: UUID, messages: Sequence[EmbeddingRequested]
) -> set[UUID]:
    if embedder is None:
        raise Unavailable("this worker has no embedding model")
    return await embedder.process(tenant_id, messages)

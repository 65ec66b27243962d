"""Vectors for passages that were indexed as text."""

from collections.abc import Sequence
from uuid import UUID

from devops_mcp.embedding.base import EmbeddingProvider
from devops_mcp.events.messages import EmbeddingRequested
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import Unembedded

CONSUMER = "embeddings"


class PassageEmbedder:
    """Gives passages their vectors, so that they can be found by meaning."""

    def __init__(self, database: Database, provider: EmbeddingProvider) -> None:
        self._database = database
        self._provider = provider

    async def process(self, tenant_id: UUID, messages: Sequence[EmbeddingRequested]) -> set[UUID]:
        """Embed the passages of these messages; return the ids of the messages that had not been processed before.

        The model runs outside any transaction, on passages that lack a vector of its space; those deleted meanwhile are left out.
        """
        wanted = {passage_id for message in messages for passage_id in message.passage_ids}
        async with self._database.transaction(tenant_id) as tx:
            lacking = await tx.passages.lacking_vectors(list(wanted), self._provider.model.space)
        embedded = await self._provider.embed([_text(passage) for passage in lacking]) if lacking else None
        async with self._database.transaction(tenant_id) as tx:
            fresh = await tx.processed.claim(CONSUMER, [message.id for message in messages])
            if fresh and embedded:
                pairs = [
                    (passage.id, vector) for passage, vector in zip(lacking, embedded.vectors, strict=True)
                ]
                await tx.passages.set_vectors(embedded.model.space, pairs)
        return fresh


def _text(passage: Unembedded) -> str:
    return f"{passage.title}\n{passage.text}"

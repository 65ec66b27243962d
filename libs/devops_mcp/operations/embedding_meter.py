"""Embedding that is paid for once and accounted for: by tenant, principal, model and day."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from devops_mcp.embedding.base import EmbeddingModel, EmbeddingProvider, Purpose, Vector
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.embeddings import Spent


@dataclass(frozen=True, slots=True)
class Metered:
    """Unit vectors in the order of the texts; `tokens` were paid for now, `cached` texts had been before."""

    vectors: list[Vector]
    model: EmbeddingModel
    tokens: int = 0
    cached: int = 0


class EmbeddingMeter:
    """Asks providers, unless the tenant has paid for the same text before. What this machine computes costs nothing and is not kept."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def embed(
        self,
        provider: EmbeddingProvider,
        tenant_id: UUID,
        principal_id: UUID | None,
        texts: Sequence[str],
        purpose: Purpose = Purpose.PASSAGE,
    ) -> Metered:
        """The vectors, kept and accounted for before they are returned. `principal_id` None is the tenant."""
        if provider.model.is_local or not texts:
            embedded = await provider.embed(texts, purpose)
            return Metered(embedded.vectors, embedded.model, embedded.tokens)
        space = provider.model.space
        digests = [_digest(purpose, text) for text in texts]
        async with self._database.transaction(tenant_id) as tx:
            known = await tx.embeddings.cached(space, digests)
        missing = {d: text for d, text in zip(digests, texts, strict=True) if d not in known}
        tokens, model = 0, provider.model
        if missing:
            embedded = await provider.embed(list(missing.values()), purpose)
            tokens, model = embedded.tokens, embedded.model
            new = dict(zip(missing, embedded.vectors, strict=True))
            known |= new
        cached = len(texts) - len(missing)
        spent = Spent(principal_id, model.name, len(texts), cached, tokens, model.cost(tokens))
        async with self._database.transaction(tenant_id) as tx:
            if missing:
                await tx.embeddings.remember(space, new)
            await tx.embeddings.spend(spent, self._now())
        return Metered([known[digest] for digest in digests], model, tokens, cached)


def _digest(purpose: Purpose, text: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{text}".encode(errors="surrogatepass")).digest()

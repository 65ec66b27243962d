"""Vectors for passages that were indexed as text, by the model that their owner has chosen."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from devops_mcp.embedding.base import EmbeddingProvider
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import EmbeddingRequested
from devops_mcp.models.embeddings import TENANT
from devops_mcp.models.errors import Unavailable, UpstreamError, UpstreamRejected
from devops_mcp.operations.embedding_meter import EmbeddingMeter
from devops_mcp.operations.settled_letters import log_settled
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import Unembedded
from devops_mcp.repositories.transaction import Transaction

CONSUMER = "embeddings"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who has chosen which model: names by owner, `TENANT` for all others."""

    models: EmbeddingModels
    names: Mapping[UUID, str | None]

    def provider(self, owner_id: UUID | None) -> EmbeddingProvider:
        """What the owner's passages are embedded with. Raises `Unavailable` where there is no model at all."""
        of_tenant = self.names.get(TENANT)
        provider = self.models.chosen((self.names.get(owner_id) if owner_id else None) or of_tenant)
        if provider is None:
            raise Unavailable("there is no embedding model")
        return provider

    def space(self, owner_id: UUID | None) -> str:
        return self.provider(owner_id).model.space


async def chosen(tx: Transaction, models: EmbeddingModels) -> Chosen:
    """The tenant's choices as they are now."""
    return Chosen(models, {choice.owner_id: choice.model for choice in await tx.embeddings.choices()})


class PassageEmbedder:
    """Gives passages their vectors, so that they can be found by meaning. For the worker's role alone: it creates the spaces' indexes."""

    def __init__(self, database: Database, models: EmbeddingModels) -> None:
        self._database = database
        self._models = models
        self._meter = EmbeddingMeter(database)
        self._indexed: set[str] = set()

    async def process(self, tenant_id: UUID, messages: Sequence[EmbeddingRequested]) -> set[UUID]:
        """Embed the passages of these messages; return the ids of the messages that had not been processed before.

        The models run outside any transaction, on passages that lack a vector of their owner's space. Left out are those deleted meanwhile,
        and those whose owner has chosen another model meanwhile, which are asked for again.
        """
        wanted = {passage_id for message in messages for passage_id in message.passage_ids}
        async with self._database.transaction(tenant_id) as tx:
            choices = await chosen(tx, self._models)
            lacking = [
                p for p in await tx.passages.texts(list(wanted)) if p.space != choices.space(p.owner_id)
            ]
        vectors = await self._vectors(tenant_id, choices, lacking)
        async with self._database.transaction(tenant_id) as tx:
            fresh = await tx.processed.claim(CONSUMER, [message.id for message in messages])
            log_settled(
                CONSUMER, await tx.dead_letters.settle(CONSUMER, [message.id for message in messages])
            )
            if vectors:
                now = await chosen(tx, self._models)
                owners = {passage.id: passage.owner_id for passage in lacking}
                for space, pairs in vectors.items():
                    still = [pair for pair in pairs if now.space(owners[pair[0]]) == space]
                    await tx.passages.set_vectors(space, still)
        return fresh

    async def _vectors(
        self, tenant_id: UUID, choices: Chosen, lacking: Sequence[Unembedded]
    ) -> dict[str, list[tuple[UUID, Sequence[float]]]]:
        """By space; each owner's passages are embedded together, and accounted to it."""
        by_owner: defaultdict[UUID | None, list[Unembedded]] = defaultdict(list)
        for passage in lacking:
            by_owner[passage.owner_id].append(passage)
        found: defaultdict[str, list[tuple[UUID, Sequence[float]]]] = defaultdict(list)
        for owner_id, passages in by_owner.items():
            provider = choices.provider(owner_id)
            await self._ensure_index(provider)
            texts = [_text(passage) for passage in passages]
            with _outage(provider):
                metered = await self._meter.embed(provider, tenant_id, owner_id, texts)
            ids = [passage.id for passage in passages]
            found[metered.model.space] += zip(ids, metered.vectors, strict=True)
        return found

    async def _ensure_index(self, provider: EmbeddingProvider) -> None:
        model = provider.model
        if model.space not in self._indexed:
            await self._database.ensure_space_index(model.space, model.dimensions)
            self._indexed.add(model.space)


@contextmanager
def _outage(provider: EmbeddingProvider) -> Iterator[None]:
    """A model that cannot be asked is no fault of the passages, which wait for it; only what it refuses as it stands is."""
    try:
        yield
    except UpstreamRejected:
        raise
    except UpstreamError as error:
        reason = f"the embedding model {provider.model.name} cannot be asked: {error.message}"
        raise Unavailable(reason, retry_after_s=error.retry_after_s) from error


def _text(passage: Unembedded) -> str:
    return f"{passage.title}\n{passage.text}"

"""Embedding as callers use it: which models there are, which is whose, vectors for texts, and what it costs."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from devops_mcp.embedding.base import EmbeddingModel, EmbeddingProvider, Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.embeddings import (
    TENANT,
    Choice,
    ModelKind,
    ModelList,
    ModelsWanted,
    ModelView,
    UsageReport,
    Vectors,
)
from devops_mcp.models.errors import InvalidInput, NotFound, Unavailable, Violation
from devops_mcp.models.principals import Principal
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, permit
from devops_mcp.operations.embedding_meter import EmbeddingMeter
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.operations.usage import require_readable, span
from devops_mcp.operations.vectors import Chosen, chosen
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.embeddings import StoredChoice
from devops_mcp.repositories.transaction import Transaction

READ = "search:read"
CREATE = "embeddings:create"
CHOOSE = "embeddings:choose"
CHOOSE_FOR_ANYBODY = "embeddings:any_owner"


class EmbeddingService:
    def __init__(
        self,
        database: Database,
        models: EmbeddingModels,
        quotas: QuotaKeeper,
        language_models: Sequence[ModelView] = (),
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._models = models
        self._language_models = tuple(language_models)
        self._quotas = quotas
        self._meter = EmbeddingMeter(database, now=now)
        self._now = now

    async def models(self, principal: Principal, wanted: ModelsWanted) -> ModelList:
        """What there is of what is wanted, and what is chosen to embed with."""
        require(principal, READ)
        async with self._database.transaction(principal.tenant_id) as tx:
            choices = {choice.owner_id: choice for choice in await tx.embeddings.choices()}
        tenant, mine = choices.get(TENANT), choices.get(principal.id)
        return ModelList(
            items=tuple(model for model in self._known() if wanted.holds(model)),
            tenant=_choice(tenant) if tenant else None,
            mine=_choice(mine) if mine else None,
        )

    def model(self, principal: Principal, kind: ModelKind, name: str) -> ModelView:
        """One of them. Raises `NotFound`."""
        require(principal, READ)
        for model in self._known():
            if (model.kind, model.name) == (kind, name):
                return model
        raise NotFound(f"there is no {kind} model {name!r}")

    def _known(self) -> tuple[ModelView, ...]:
        known = self._models.all()
        return (*(_view(model, known) for model in known), *self._language_models)

    async def choose(self, principal: Principal, model: str | None, owner_id: UUID | None) -> Choice:
        """Let `owner_id`'s passages be embedded with the model, None being the tenant's; those that there are follow in the background.

        `model` None goes back to the tenant's choice, or for the tenant to the installation's default. Raises `NotFound` for an unknown
        model, `Unavailable` where there is none at all.
        """
        await self.permit_choice(principal, model, owner_id)
        async with self._database.transaction(principal.tenant_id) as tx:
            return await self.choose_within(tx, principal, model, owner_id)

    async def permit_choice(self, principal: Principal, model: str | None, owner_id: UUID | None) -> None:
        """Raise `Forbidden`, and leave a record of it, for who may not choose, and `NotFound` for an unknown model."""
        if owner_id == principal.id:
            await permit(self._database, principal, CHOOSE, _target(owner_id))
        else:
            await permit(self._database, principal, CHOOSE_FOR_ANYBODY, _target(owner_id))
        if model is not None:
            self._models.named(model)

    async def choose_within(
        self, tx: Transaction, principal: Principal, model: str | None, owner_id: UUID | None
    ) -> Choice:
        """`choose`, in the principal's transaction, of what it has been permitted."""
        owner = owner_id or TENANT
        choices = await chosen(tx, self._models)
        space = Chosen(self._models, {**choices.names, owner: model}).space(owner_id)
        await tx.embeddings.choose(owner, model, space)
        await tx.audit.append([deed(principal, "embeddings.choose", _target(owner_id), {"model": model})])
        rows = await tx.embeddings.choices()
        return _choice(next(row for row in rows if row.owner_id == owner))

    async def embed(
        self, principal: Principal, texts: Sequence[str], model: str | None, purpose: Purpose
    ) -> Vectors:
        """The texts' vectors by the named model, or by the one that is the principal's own. Raises `QuotaExceeded`."""
        require(principal, CREATE)
        async with self._database.transaction(principal.tenant_id) as tx:
            provider = await self._provider(tx, principal, model)
        _refuse_long(texts, provider.model)
        async with self._quotas.embedding(principal, sum(map(count_tokens, texts))) as paid:
            metered = await self._meter.embed(provider, principal.tenant_id, principal.id, texts, purpose)
            paid(metered.tokens)
        return Vectors(
            vectors=tuple(map(tuple, metered.vectors)),
            model=metered.model.name,
            space=metered.model.space,
            dimensions=metered.model.dimensions,
            tokens=metered.tokens,
            cached=metered.cached,
        )

    async def usage(
        self,
        principal: Principal,
        *,
        principal_id: UUID | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> UsageReport:
        """What embedding cost: one's own, or with the permission one principal's, or with None everybody's. Default: the last 30 days."""
        require_readable(principal, principal_id)
        begin, end = span(since, until, self._now())
        async with self._database.transaction(principal.tenant_id) as tx:
            return await tx.embeddings.usage(principal_id, begin, end, limit)

    async def _provider(self, tx: Transaction, principal: Principal, model: str | None) -> EmbeddingProvider:
        if self._models.default is None:
            raise Unavailable("there is no embedding model")
        if model is not None:
            return self._models.named(model)
        return (await chosen(tx, self._models)).provider(principal.id)


def _target(owner_id: UUID | None) -> str:
    return f"embedding_choice:{owner_id or 'tenant'}"


def _refuse_long(texts: Sequence[str], model: EmbeddingModel) -> None:
    for number, text in enumerate(texts):
        if count_tokens(text) > model.max_tokens and not model.is_local:
            problem = f"has some {count_tokens(text)} tokens; {model.name} takes {model.max_tokens}"
            raise InvalidInput(f"input.{number}: {problem}", (Violation(f"body.input.{number}", problem),))


def _choice(row: StoredChoice) -> Choice:
    return Choice(
        owner_id=None if row.owner_id == TENANT else row.owner_id,
        model=row.model,
        space=row.space,
        finished_at=row.finished_at,
    )


def _view(model: EmbeddingModel, known: Sequence[EmbeddingModel]) -> ModelView:
    same = tuple(other.name for other in known if other.space == model.space and other is not model)
    return ModelView(
        kind=ModelKind.EMBEDDING,
        used_for="embeddings",
        name=model.name,
        provider=model.provider,
        space=model.space,
        dimensions=model.dimensions,
        normalised=model.normalised,
        price_per_million_tokens=model.price,
        max_tokens=model.max_tokens,
        max_batch=model.max_batch,
        is_default=model is known[0],
        stands_in_for=same,
    )

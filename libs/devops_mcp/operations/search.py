"""Search over contexts, events and kept results: by words and, where a model is at hand, by meaning."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import structlog

from devops_mcp.embedding.base import Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.passages import Answer, Hit, Neighbour, Question
from devops_mcp.models.principals import Principal
from devops_mcp.observability.caller import for_caller
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.contexts import ANY_OWNER, require, visible
from devops_mcp.operations.embedding_meter import EmbeddingMeter
from devops_mcp.operations.kept_fresh import KeptFresh
from devops_mcp.operations.moments import moment_of
from devops_mcp.operations.vectors import chosen
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import Groundwork, QueryVector, Ranking, SearchFilter
from devops_mcp.repositories.transaction import Transaction

READ = "search:read"
MAX_SPACES = 4
"""Each is a vector more to compute for every question."""
MIN_SHARE = 0.001
SHARES_FRESH_S = 10.0
SHARES_USABLE_S = 30.0
"""So old are the shares at most that a question goes by; those older than `SHARES_FRESH_S` are counted again beside the questions."""
log = structlog.get_logger()


class SearchService:
    """Answers questions with ranked passages. Without a model the answer says `lexical`, and is.

    What it does beside the questions ends with `close`.
    """

    def __init__(
        self,
        database: Database,
        models: EmbeddingModels,
        metrics: Metrics,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._models = models
        self._meter = EmbeddingMeter(database, now=now)
        self._shares = KeptFresh(
            self._counted_shares,
            fresh_s=SHARES_FRESH_S,
            usable_s=SHARES_USABLE_S,
            monotonic=monotonic,
        )
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic

    async def ask(self, principal: Principal, question: Question) -> Answer:
        """The passages that answer best, of those the principal may see. Raises `NotFound` for a context or an event that it may not."""
        require(principal, READ)
        started = self._monotonic()
        ground, vectors = await asyncio.gather(
            for_caller(self._groundwork(principal, question)),
            for_caller(self.vectors(principal, question.query)),
        )

        async def finished(tx: Transaction) -> list[Hit]:
            hits = await tx.passages.finish(ground, vectors, question.limit)
            if not question.neighbours:
                return hits
            beside = await tx.passages.neighbours(hits, question.neighbours, ground.wanted)
            return [_with_neighbours(hit, beside.get(hit.passage.id, ())) for hit in hits]

        hits = await self._database.read(principal.tenant_id, finished)
        mode = "hybrid" if vectors else "lexical"
        self._metrics.search(mode, self._monotonic() - started)
        spaces = tuple(vector.space for vector in vectors)
        return Answer(hits=tuple(hits), mode=mode, spaces=spaces, exact=ground.exact)

    async def _groundwork(self, principal: Principal, question: Question) -> Groundwork:
        async def found(tx: Transaction) -> Groundwork:
            if question.context_id is not None:
                await visible(tx, principal, question.context_id)
            as_of = await moment_of(tx, principal, question.as_of, question.before_event)
            wanted, ranking = _filter(principal, question, as_of), self._ranking(question, as_of)
            return await tx.passages.groundwork(question.query, wanted, ranking)

        return await self._database.read(principal.tenant_id, found)

    async def vectors(self, principal: Principal, query: str) -> tuple[QueryVector, ...]:
        """The question's vectors, one for each space that the principal's passages lie in.

        None where there is no model, or none answers: then the answer says that it is lexical.
        """
        if self._models.default is None:
            return ()
        shares = await self._shares.get((principal.tenant_id, principal.id, principal.may(ANY_OWNER)))
        asked = [for_caller(self._vector(principal, query, space, share)) for space, share in shares.items()]
        found = await asyncio.gather(*asked)
        return tuple(vector for vector in found if vector is not None)

    async def _vector(self, principal: Principal, query: str, space: str, share: float) -> QueryVector | None:
        provider = self._models.of_space(space)
        if provider is None:
            return None
        try:
            embedded = await self._meter.embed(
                provider, principal.tenant_id, principal.id, [query], Purpose.QUESTION
            )
        except PlatformError as error:
            log.warning("question not embedded", space=space, code=error.code, reason=error.message)
            return None
        return QueryVector(space, embedded.vectors[0], share)

    async def _counted_shares(self, whose: tuple[UUID, UUID, bool]) -> dict[str, float]:
        """The spaces to ask, each with how much of what the principal sees lies in it."""
        tenant_id, principal_id, any_owner = whose
        async with self._database.transaction(tenant_id) as tx:
            choices = await chosen(tx, self._models)
            counts = await tx.passages.spaces(principal_id, any_owner=any_owner)
        return _as_shares(counts, {choices.space(principal_id), choices.space(None)})

    async def close(self) -> None:
        """Count no more shares, and account for the questions that are not accounted for yet."""
        await self._shares.close()
        await self._meter.close()

    def _ranking(self, question: Question, as_of: datetime | None) -> Ranking:
        return Ranking(
            recency_weight=question.recency_weight,
            half_life_s=question.half_life_days * 86_400,
            now=as_of or self._now(),
            exact=question.exact,
            highlights=True,
        )


@asynccontextmanager
async def open_search(
    database: Database, models: EmbeddingModels, metrics: Metrics
) -> AsyncIterator[SearchService]:
    """The service, closed at the end."""
    search = SearchService(database, models, metrics)
    try:
        yield search
    finally:
        await search.close()


def _as_shares(counts: Mapping[str, int], wanted: Collection[str]) -> dict[str, float]:
    """Shares of the spaces that passages lie in, the largest first, and of those that they are to lie in."""
    total = sum(counts.values()) or 1
    largest = sorted(counts, key=lambda space: -counts[space])[:MAX_SPACES]
    shares = {space: max(counts[space] / total, MIN_SHARE) for space in largest if counts[space]}
    return {**dict.fromkeys(wanted, MIN_SHARE if shares else 1.0), **shares}


def _filter(principal: Principal, question: Question, as_of: datetime | None) -> SearchFilter:
    return SearchFilter(
        owner_id=principal.id,
        any_owner=principal.may(ANY_OWNER),
        kinds=question.kinds,
        context_id=question.context_id,
        since=question.since,
        until=question.until,
        as_of=as_of,
        belongs_to=question.owner_id,
        systems=question.systems,
        sources=question.sources,
        subject=question.subject,
        metadata=question.metadata,
    )


def _with_neighbours(hit: Hit, beside: Sequence[Neighbour]) -> Hit:
    return hit.model_copy(update={"neighbours": tuple(beside)})

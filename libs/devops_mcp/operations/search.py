"""Search over contexts, events and kept results: by words and, where a model is at hand, by meaning."""

import time
from collections.abc import Callable, Sequence

from devops_mcp.embedding.base import EmbeddingProvider, Purpose
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.passages import Answer, Hit, Neighbour, Question
from devops_mcp.models.principals import Principal
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.contexts import ANY_OWNER, require
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passage_search import is_exact
from devops_mcp.repositories.passages import QueryVector, Ranking, SearchFilter

READ = "search:read"


class SearchService:
    """Answers questions with ranked passages. Without a provider the answer says `lexical`, and is."""

    def __init__(
        self,
        database: Database,
        provider: EmbeddingProvider | None,
        metrics: Metrics,
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._provider = provider
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic

    async def ask(self, principal: Principal, question: Question) -> Answer:
        """The passages that answer best, of those the principal may see."""
        require(principal, READ)
        started = self._monotonic()
        vectors = await self.vectors(question.query)
        wanted = _filter(principal, question)
        ranking = self._ranking(question)
        async with self._database.transaction(principal.tenant_id) as tx:
            hits = await tx.passages.search(question.query, vectors, wanted, question.limit, ranking)
            if question.neighbours:
                beside = await tx.passages.neighbours(hits, question.neighbours, wanted)
                hits = [_with_neighbours(hit, beside.get(hit.passage.id, ())) for hit in hits]
        mode = "hybrid" if vectors else "lexical"
        self._metrics.search(mode, self._monotonic() - started)
        spaces = tuple(vector.space for vector in vectors)
        return Answer(hits=tuple(hits), mode=mode, spaces=spaces, exact=is_exact(ranking, wanted))

    async def vectors(self, query: str) -> tuple[QueryVector, ...]:
        """The question's vectors, one a space; none where there is no model, or it fails: the answer says that it is lexical."""
        if self._provider is None:
            return ()
        try:
            embedded = await self._provider.embed([query], Purpose.QUESTION)
        except PlatformError:
            return ()
        return (QueryVector(embedded.model.space, embedded.vectors[0]),)

    def _ranking(self, question: Question) -> Ranking:
        return Ranking(
            recency_weight=question.recency_weight,
            half_life_s=question.half_life_days * 86_400,
            now=self._now(),
            exact=question.exact,
            highlights=True,
        )


def _filter(principal: Principal, question: Question) -> SearchFilter:
    return SearchFilter(
        owner_id=principal.id,
        any_owner=principal.may(ANY_OWNER),
        kinds=question.kinds,
        context_id=question.context_id,
        since=question.since,
        until=question.until,
        belongs_to=question.owner_id,
        systems=question.systems,
        sources=question.sources,
        subject=question.subject,
        metadata=question.metadata,
    )


def _with_neighbours(hit: Hit, beside: Sequence[Neighbour]) -> Hit:
    return hit.model_copy(update={"neighbours": tuple(beside)})

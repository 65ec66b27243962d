"""Search over contexts, events and kept results: by words and, where a model is at hand, by meaning."""

import time
from collections.abc import Callable

from devops_mcp.embedding.base import EmbeddingProvider
from devops_mcp.models.errors import PlatformError
from devops_mcp.models.passages import Answer, Question
from devops_mcp.models.principals import Principal
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.contexts import ANY_OWNER, require
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.passages import QueryVector, SearchFilter

READ = "search:read"


class SearchService:
    """Answers questions with ranked passages. Without a provider the answer says `lexical`, and is."""

    def __init__(
        self,
        database: Database,
        provider: EmbeddingProvider | None,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._provider = provider
        self._metrics = metrics
        self._monotonic = monotonic

    async def ask(self, principal: Principal, question: Question) -> Answer:
        """The passages that answer best, of those the principal may see."""
        require(principal, READ)
        started = self._monotonic()
        vector = await self.vector(question.query)
        wanted = SearchFilter(
            owner_id=principal.id,
            any_owner=principal.may(ANY_OWNER),
            kinds=question.kinds,
            context_id=question.context_id,
            since=question.since,
            until=question.until,
        )
        async with self._database.transaction(principal.tenant_id) as tx:
            hits = await tx.passages.search(question.query, vector, wanted, question.limit)
        mode = "hybrid" if vector else "lexical"
        self._metrics.search(mode, self._monotonic() - started)
        return Answer(hits=tuple(hits), mode=mode, space=vector.space if vector else None)

    async def vector(self, query: str) -> QueryVector | None:
        """The question's vector; None where there is no model, or it fails."""
        if self._provider is None:
            return None
        try:
            values = await self._provider.embed_query(query)
        except PlatformError:
            return None  # the answer says that it is lexical
        return QueryVector(self._provider.space, values)

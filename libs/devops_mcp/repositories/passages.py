"""Searchable passages: indexed by words at once, by meaning when their vector comes; found by both."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pgvector import HalfVector
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.passages import Hit, Neighbour, NewPassage
from devops_mcp.repositories.passage_neighbours import neighbours
from devops_mcp.repositories.passage_search import PLAIN, QueryVector, Ranking, SearchFilter, search

__all__ = ["Passages", "QueryVector", "Ranking", "SearchFilter", "Unembedded"]


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A passage's text, for its vector."""

    id: UUID
    title: str
    text: str


class Passages:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, passages: Sequence[tuple[UUID, NewPassage]], *, owner_id: UUID | None) -> list[UUID]:
        """Index passages under the given ids; those indexed before are left as they are. The ids that are new."""
        cursor = await self._connection.execute(
            """
            INSERT INTO passages (id, owner_id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
            SELECT id, %s, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata
            FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::int[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
                        %s::jsonb[])
                 AS p (id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
            ON CONFLICT (tenant_id, kind, source_id, part) DO NOTHING RETURNING id
            """,
            (
                owner_id,
                [id_ for id_, _ in passages],
                [p.kind.value for _, p in passages],
                [p.source_id for _, p in passages],
                [p.part for _, p in passages],
                [p.context_id for _, p in passages],
                [p.title for _, p in passages],
                [p.text for _, p in passages],
                [p.uri for _, p in passages],
                [p.occurred_at for _, p in passages],
                [Jsonb(p.metadata) for _, p in passages],
            ),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def lacking_vectors(self, passage_ids: Sequence[UUID], space: str) -> list[Unembedded]:
        """Those of the passages that have no vector of `space` yet."""
        async with self._connection.cursor(row_factory=class_row(Unembedded)) as cursor:
            await cursor.execute(
                "SELECT id, title, text FROM passages WHERE id = ANY(%s) AND space IS DISTINCT FROM %s ORDER BY id",
                (list(passage_ids), space),
            )
            return await cursor.fetchall()

    async def set_vectors(self, space: str, vectors: Sequence[tuple[UUID, Sequence[float]]]) -> None:
        """Give passages their vectors; a passage deleted meanwhile is left out."""
        await self._connection.execute(
            """
            UPDATE passages AS p SET space = %s, embedding = v.embedding::halfvec
            FROM unnest(%s::uuid[], %s::text[]) AS v (id, embedding) WHERE p.id = v.id
            """,
            (
                space,
                [id_ for id_, _ in vectors],
                [HalfVector(list(values)).to_text() for _, values in vectors],
            ),
        )

    async def search(
        self,
        query: str,
        vectors: Sequence[QueryVector],
        wanted: SearchFilter,
        limit: int,
        ranking: Ranking = PLAIN,
    ) -> list[Hit]:
        """The best passages: words and, where there are vectors, meaning, fused by reciprocal rank."""
        return await search(self._connection, query, vectors, wanted, limit, ranking)

    async def neighbours(
        self, hits: Sequence[Hit], count: int, wanted: SearchFilter
    ) -> dict[UUID, list[Neighbour]]:
        """Up to `count` before and after each hit, in order, by the hit's id."""
        return await neighbours(self._connection, hits, count, wanted)

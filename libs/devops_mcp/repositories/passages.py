"""Searchable passages: indexed by words at once, by meaning when their vector comes; found by both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pgvector import HalfVector
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.passages import Hit, NewPassage, Passage, PassageKind

CANDIDATES = 60
"""How many of each ranking are fused."""
FUSION_K = 60
"""The constant of reciprocal rank fusion, Cormack et al. 2009."""

_FILTERS = sql.SQL(
    """(%(any_owner)s OR owner_id IS NULL OR owner_id = %(owner)s)
        AND (cardinality(%(kinds)s::text[]) = 0 OR kind = ANY(%(kinds)s)) AND (%(context)s::uuid IS NULL OR context_id = %(context)s)
        AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR occurred_at < %(until)s)"""
)
_LEXICAL = sql.SQL(
    """lexical AS (
        SELECT id, row_number() OVER (ORDER BY relevance DESC, id DESC) AS rank FROM (
            SELECT id, ts_rank(lexemes, asked) AS relevance
            FROM passages,
                 (SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery FROM unnest(to_tsvector('english', %(query)s))) AS q (asked)
            WHERE lexemes @@ asked AND {filters}
            ORDER BY relevance DESC, id DESC LIMIT %(candidates)s) AS found)"""
)
# The space is a literal so that the planner sees that the space's partial index applies.
_NEAREST = sql.SQL(
    """nearest AS (
        SELECT id, row_number() OVER (ORDER BY distance, id DESC) AS rank FROM (
            SELECT id, embedding::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions}) AS distance
            FROM passages WHERE space = {space} AND {filters}
            ORDER BY distance LIMIT %(candidates)s) AS found)"""
)
_NOTHING_NEAR = sql.SQL("nearest AS (SELECT NULL::uuid AS id, NULL::bigint AS rank WHERE false)")
_FUSED = sql.SQL(
    """WITH {lexical}, {nearest}, fused AS (
        SELECT id, lexical.rank AS lexical_rank, nearest.rank AS vector_rank,
               coalesce(1.0 / (%(k)s + lexical.rank), 0) + coalesce(1.0 / (%(k)s + nearest.rank), 0) AS score
        FROM lexical FULL JOIN nearest USING (id)
        ORDER BY score DESC, id DESC LIMIT %(limit)s)
    SELECT p.id, p.kind, p.source_id, p.part, p.context_id, p.title, p.text, p.uri, p.occurred_at, p.metadata, p.space,
           f.score::float8, f.lexical_rank, f.vector_rank
    FROM fused AS f JOIN passages AS p USING (id) ORDER BY f.score DESC, p.id DESC"""
)


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """What may be found. `owner_id` sees its own and the tenant's passages; with `any_owner` everybody's."""

    owner_id: UUID
    any_owner: bool = False
    kinds: tuple[PassageKind, ...] = ()
    context_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class QueryVector:
    """The question's vector, and the space it lies in."""

    space: str
    values: Sequence[float]


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
        self, query: str, vector: QueryVector | None, wanted: SearchFilter, limit: int
    ) -> list[Hit]:
        """The best passages: words and, where there is a vector, meaning, fused by reciprocal rank."""
        if vector is not None:
            # Without it an index scan stops after the nearest rows of all tenants, and a small tenant's are never seen.
            await self._connection.execute("SELECT set_config('hnsw.iterative_scan', 'strict_order', true)")
        cursor = await self._connection.execute(
            _search_sql(vector),
            {
                "query": query,
                "vector": HalfVector(list(vector.values)).to_text() if vector else None,
                "owner": wanted.owner_id,
                "any_owner": wanted.any_owner,
                "kinds": [kind.value for kind in wanted.kinds],
                "context": wanted.context_id,
                "since": wanted.since,
                "until": wanted.until,
                "candidates": CANDIDATES,
                "k": FUSION_K,
                "limit": limit,
            },
        )
        return [_hit(row) for row in await cursor.fetchall()]


def _search_sql(vector: QueryVector | None) -> sql.Composed:
    nearest: sql.Composable = _NOTHING_NEAR
    if vector is not None:
        dimensions = sql.Literal(len(vector.values))
        nearest = _NEAREST.format(filters=_FILTERS, dimensions=dimensions, space=sql.Literal(vector.space))
    return _FUSED.format(lexical=_LEXICAL.format(filters=_FILTERS), nearest=nearest)


def _hit(row: TupleRow) -> Hit:
    (
        id_,
        kind,
        source_id,
        part,
        context_id,
        title,
        text,
        uri,
        occurred_at,
        metadata,
        space,
        score,
        lexical_rank,
        vector_rank,
    ) = row
    passage = Passage(
        id=id_,
        kind=kind,
        source_id=source_id,
        part=part,
        context_id=context_id,
        title=title,
        text=text,
        uri=uri,
        occurred_at=occurred_at,
        metadata=metadata,
        space=space,
    )
    return Hit(passage=passage, score=score, lexical_rank=lexical_rank, vector_rank=vector_rank)

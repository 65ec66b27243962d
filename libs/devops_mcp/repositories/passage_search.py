"""The search over passages: by words and, in each space, by meaning, fused by reciprocal rank.

What needs no vector, the groundwork, is asked for apart, so that it is done while the question's vectors are computed.

A space's nearest passages are placed among those of the other spaces by their rank, less a half, divided by its share of all vectors:
the best of a space that holds a tenth counts like the fifth of all. So a space that is being filled neither drowns the others nor drowns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pgvector import HalfVector
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from devops_mcp.models.base import JsonObject, utc_now
from devops_mcp.models.passages import Explanation, Hit, Passage, PassageKind
from devops_mcp.repositories.connection import Command, Connection
from devops_mcp.repositories.moments import moment_after

CANDIDATES = 60
"""How many of each ranking are fused."""
FUSION_K = 3
VECTOR_WEIGHT = 1.0
"""The constant of reciprocal rank fusion (Cormack et al. 2009, who took 60), and what meaning counts; words count 1 where the passage
holds all of the question's, else their share. Chosen on one half of the questions of `benchmarks/quality.py`. The constant is small, so
that what is first by a name or a number stays in front."""
MAX_HALF_LIVES = 60
"""Older than that is as old: PostgreSQL refuses to compute what rounds to nothing."""

_FILTERS = sql.SQL(
    """tenant_id = {tenant} AND ((%(any_owner)s AND kind <> 'result') OR owner_id IS NULL OR owner_id = %(principal)s)
        AND (%(owner)s::uuid IS NULL OR owner_id = %(owner)s)
        AND (cardinality(%(kinds)s::text[]) = 0 OR kind = ANY(%(kinds)s)) AND (%(context)s::uuid IS NULL OR context_id = %(context)s)
        AND (cardinality(%(systems)s::text[]) = 0 OR metadata->>'system' = ANY(%(systems)s))
        AND (cardinality(%(sources)s::text[]) = 0 OR metadata->>'source' = ANY(%(sources)s))
        AND (%(subject)s::text IS NULL OR metadata->>'subject' = %(subject)s)
        AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s)
        AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR occurred_at < %(until)s)"""
)
BY_WORDS = sql.SQL(
    """SELECT coalesce(array_agg(passage_id)::text, '{}'), coalesce(array_agg(relevance)::text, '{}'),
              coalesce(array_agg(coverage)::text, '{}')
       FROM (SELECT passage_id, relevance, coverage
             FROM passages_by_words(%(query)s, %(principal)s, %(any_owner)s, %(owner)s, %(kinds)s, %(context)s, %(systems)s, %(sources)s,
                                    %(subject)s, %(metadata)s, %(since)s, %(until)s, %(candidates)s)
             ORDER BY relevance DESC, passage_id DESC) AS found"""
)
_LEXICAL = sql.SQL(
    """asked AS (SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery AS words FROM unnest(words_of(%(query)s))),
    lexical AS (SELECT * FROM unnest(%(worded)s::uuid[], %(relevances)s::real[], %(coverages)s::real[])
                              WITH ORDINALITY AS w (id, relevance, coverage, rank))"""
)
# What a scan finds late it gives late, so that its rows are nearly in order only; adding 0 keeps the planner from taking them for sorted.
_OF_SPACE = sql.SQL(
    """SELECT id, distance, (row_number() OVER (ORDER BY distance + 0, id DESC) - 0.5) / {share} AS place FROM (
            SELECT id, distance FROM ({distances}) AS every ORDER BY distance LIMIT %(candidates)s) AS found"""
)
# The space is a literal so that the planner sees that the space's partial index applies.
# So is the tenant, whose share of all rows the planner weighs: the index finds a small tenant's neither soon nor surely.
_INDEXED = sql.SQL(
    """SELECT id, embedding::halfvec({dimensions}) <=> {vector}::halfvec({dimensions}) AS distance
       FROM passages WHERE space = {space} AND {filters}"""
)
# OFFSET 0 keeps the planner from using the vectors' index: the distance to every row is computed, where the row is read, so that no
# vector is copied.
_EXACT = sql.SQL(
    """SELECT id, embedding::halfvec({dimensions}) <=> {vector}::halfvec({dimensions}) AS distance
       FROM passages WHERE space = {space} AND {filters} OFFSET 0"""
)
_OF_FEW = sql.SQL(
    """SELECT id, embedding::halfvec({dimensions}) <=> {vector}::halfvec({dimensions}) AS distance
       FROM passages WHERE id = ANY((SELECT {few})::uuid[]) AND space = {space} AND {filters} OFFSET 0"""
)
# Here the space is a parameter, and the tenant the policy's: no plan depends on them, so that the statement can be prepared.
_SKETCHED = sql.SQL(
    """SELECT id, embedding::halfvec({dimensions}) <=> {vector}::halfvec({dimensions}) AS distance
       FROM passages WHERE id = ANY(ARRAY(
               SELECT passage_id FROM (
                   SELECT passage_id, sketch <~> (SELECT sketch({vector}::halfvec({dimensions}))) AS apart FROM passage_sketches
                   WHERE context_id = %(context)s AND space = {space} OFFSET 0) AS every
               ORDER BY apart LIMIT %(sketched)s))
           AND space = {space} AND context_id = %(context)s AND (%(any_owner)s OR owner_id IS NULL OR owner_id = %(principal)s) OFFSET 0"""
)
_NEAREST = sql.SQL(
    """nearest AS (
        SELECT id, distance, row_number() OVER (ORDER BY place, distance, id DESC) AS rank FROM ({spaces}) AS placed
        ORDER BY rank LIMIT %(candidates)s)"""
)
_NOTHING = sql.SQL("SELECT NULL::uuid AS id, NULL::float8 AS distance, NULL::float8 AS place WHERE false")
_FUSED = sql.SQL(
    """WITH {lexical}, {nearest}, ranked AS (
        SELECT id, rank AS lexical_rank, NULL::bigint AS vector_rank, relevance, coverage, NULL::float8 AS distance FROM lexical
        UNION ALL SELECT id, NULL, rank, NULL, NULL, distance FROM nearest),
    fused AS MATERIALIZED (
        SELECT id, min(lexical_rank) AS lexical_rank, min(vector_rank) AS vector_rank,
               min(relevance) AS relevance, min(coverage) AS coverage, min(distance) AS distance,
               (coalesce(%(lexical_weight)s * min(coverage) / (%(k)s + min(lexical_rank)), 0)
                + coalesce(%(vector_weight)s / (%(k)s + min(vector_rank)), 0))::float8 AS fused
        FROM ranked GROUP BY id),
    aged AS (
        SELECT f.*, 1 - %(recency_weight)s::float8 + %(recency_weight)s::float8 * power(0.5::float8,
                   least(greatest(extract(epoch FROM %(now)s - occurred_at) / %(half_life_s)s, 0), %(max_half_lives)s)::float8) AS recency,
               p.kind, p.source_id, p.part, p.context_id, p.title, p.text, p.uri, p.occurred_at, p.metadata, p.space
        FROM fused AS f JOIN passages AS p USING (id)
        WHERE NOT EXISTS (SELECT FROM contexts AS c WHERE c.id = p.context_id AND c.expires_at <= now())
            AND (p.kind <> 'result' OR EXISTS (SELECT FROM kept_results AS r WHERE r.id = p.source_id AND r.expires_at > now()))),
    best AS (SELECT aged.*, fused * recency AS score FROM aged ORDER BY score DESC, id DESC LIMIT %(limit)s)
    {shown} ORDER BY score DESC, best.id DESC"""
)
_HITS = sql.SQL(
    """SELECT best.id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata, space,
           score, fused, recency, lexical_rank, vector_rank, relevance::float8, coverage::float8, distance::float8,
           CASE WHEN %(highlights)s THEN ts_headline('english', text, words_or_names(words, text), %(headline)s) END AS headline
       FROM best, asked"""
)
_FEW = sql.SQL(
    """few_passages(%(principal)s, %(any_owner)s, %(owner)s, %(kinds)s, %(context)s, %(systems)s, %(sources)s,
                    %(subject)s, %(metadata)s, %(since)s, %(until)s, {most})"""
)
_ARE_FEW = sql.SQL("SELECT {} IS NOT NULL").format(_FEW.format(most=sql.SQL("%(most)s")))
MOST = 5_000
"""Passages to which the distance is computed faster than the index of all vectors finds the nearest of them."""
SKETCHED = 500
"""Passages of a context whose sketches are nearest: enough to hold the nearest `CANDIDATES`, nearly always."""
_ANY_NUMBER = 1_000_000
"""Of those that were few a moment ago."""
SETTINGS: Command = (
    b"""SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
              set_config('hnsw.ef_search', greatest(100, least(1000, reltuples / 600))::integer::text, true)
       FROM pg_class WHERE oid = 'passages'::regclass""",
    (),
)
"""For the search's transaction. Without the first a scan stops after the nearest rows of all tenants, and a small one's are never seen.
The second is how far a scan looks around: 500 among 300,000 passages, beyond which little more is found, and at most 1,000, of 600,000."""
MARK = "**"
_BETWEEN = "\x1e"
_HEADLINE = (
    f'StartSel="{MARK}", StopSel="{MARK}", FragmentDelimiter="{_BETWEEN}", '
    "MaxFragments=2, MaxWords=28, MinWords=10"
)


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """What may be found. `owner_id`, who asks, sees its own and the tenant's passages; with `any_owner` everybody's but kept results.

    What came after `as_of` is not shown beside what is found either.
    """

    owner_id: UUID
    any_owner: bool = False
    kinds: tuple[PassageKind, ...] = ()
    context_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    belongs_to: UUID | None = None
    systems: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    subject: str | None = None
    metadata: JsonObject = field(default_factory=dict)

    @property
    def narrows(self) -> bool:
        """Whether it may leave few passages, so that these are looked for first."""
        by_what = self.systems or self.sources or self.subject or self.metadata
        return bool(self.belongs_to or by_what or self.since or self.end)

    @property
    def end(self) -> datetime | None:
        """What is found came before."""
        as_of = None if self.as_of is None else moment_after(self.as_of)
        return min((end for end in (self.until, as_of) if end is not None), default=None)


@dataclass(frozen=True, slots=True)
class QueryVector:
    """The question's vector, the space it lies in, and how much of what is searched lies in that space: more than 0, at most 1."""

    space: str
    values: Sequence[float]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """How the candidates are put in order; `recency_weight` is between 0 and 1."""

    recency_weight: float = 0.0
    half_life_s: float = 14 * 86_400.0
    now: datetime | None = None
    exact: bool = False
    highlights: bool = False
    lexical_weight: float = 1.0
    vector_weight: float = VECTOR_WEIGHT
    k: int = FUSION_K
    candidates: int = CANDIDATES


PLAIN = Ranking()


@dataclass(frozen=True, slots=True)
class Groundwork:
    """A tenant's search as far as it goes without vectors.

    `worded` hold words of the question, the best first by `relevances`; `coverages` say which share of them: arrays, as the server wrote
    them and reads them again. `few` says that the filters leave few passages.
    """

    tenant_id: UUID
    query: str
    wanted: SearchFilter
    ranking: Ranking
    worded: str
    relevances: str
    coverages: str
    few: bool

    @property
    def exact(self) -> bool:
        return is_exact(self.ranking, self.wanted)


async def groundwork(
    connection: AsyncConnection[TupleRow],
    tenant_id: UUID,
    query: str,
    wanted: SearchFilter,
    ranking: Ranking,
) -> Groundwork:
    """Search by words, and see how much the filters leave."""
    given = {**_filters(wanted), "query": query, "candidates": ranking.candidates, "most": MOST}
    found = await (await connection.execute(BY_WORDS, given)).fetchone()
    worded, relevances, coverages = found or ("{}", "{}", "{}")
    few = False
    if wanted.narrows and not is_exact(ranking, wanted):
        row = await (await connection.execute(_ARE_FEW, given)).fetchone()
        few = bool(row and row[0])
    return Groundwork(tenant_id, query, wanted, ranking, worded, relevances, coverages, few)


async def search(
    connection: Connection, ground: Groundwork, vectors: Sequence[QueryVector], limit: int
) -> list[Hit]:
    """The best passages, each with how its score came about."""
    if vectors and not ground.exact and not ground.few:
        connection.let_also_precede(SETTINGS)
    async with connection.cursor(row_factory=dict_row) as cursor:
        # Never prepared: a plan for any filter is a plan for none.
        await cursor.execute(statement(ground, vectors), arguments(ground, vectors, limit), prepare=False)
        return [_hit(row) for row in await cursor.fetchall()]


def is_exact(ranking: Ranking, wanted: SearchFilter) -> bool:
    """Whether every vector that the filters leave is compared.

    One conversation is a small set, found by an index of its own: nothing is gained by the nearest rows of all others.
    """
    return ranking.exact or wanted.context_id is not None


def arguments(ground: Groundwork, vectors: Sequence[QueryVector], limit: int) -> dict[str, Any]:
    """What `statement` or `sketched` is executed with."""
    return {
        **_filters(ground.wanted),
        **_order(ground.ranking),
        **_vectors(vectors),
        "query": ground.query,
        "worded": ground.worded,
        "relevances": ground.relevances,
        "coverages": ground.coverages,
        "limit": limit,
        "sketched": SKETCHED,
    }


def statement(ground: Groundwork, vectors: Sequence[QueryVector]) -> sql.Composed:
    """What follows the groundwork, as one statement."""
    among = _OF_FEW if ground.few else _EXACT if ground.exact else _INDEXED
    spaces = [_of_space(ground, number, vector, among) for number, vector in enumerate(vectors)]
    return _fused(spaces, _HITS)


def sketched(dimensions: Sequence[int], shown: sql.Composable) -> sql.Composed:
    """The same for a groundwork among one context's passages, without another filter; `shown` selects from `best`.

    Compared are the passages whose sketches are nearest to the question's, `SKETCHED` of each space. `dimensions` are the vectors'.
    """
    spaces = [
        _OF_SPACE.format(
            share=sql.Placeholder(f"share_{number}"),
            distances=_SKETCHED.format(
                dimensions=sql.Literal(size),
                vector=sql.Placeholder(f"vector_{number}"),
                space=sql.Placeholder(f"space_{number}"),
            ),
        )
        for number, size in enumerate(dimensions)
    ]
    return _fused(spaces, shown)


def _fused(spaces: Sequence[sql.Composable], shown: sql.Composable) -> sql.Composed:
    placed = sql.SQL(" UNION ALL ").join(sql.SQL("({})").format(space) for space in spaces or [_NOTHING])
    return _FUSED.format(lexical=_LEXICAL, nearest=_NEAREST.format(spaces=placed), shown=shown)


def _of_space(ground: Groundwork, number: int, vector: QueryVector, among: sql.SQL) -> sql.Composed:
    distances = among.format(
        dimensions=sql.Literal(len(vector.values)),
        vector=sql.Placeholder(f"vector_{number}"),
        space=sql.Literal(vector.space),
        few=_FEW.format(most=sql.Literal(_ANY_NUMBER)),
        filters=_FILTERS.format(tenant=sql.Literal(ground.tenant_id)),
    )
    return _OF_SPACE.format(share=sql.Literal(vector.share), distances=distances)


def _filters(wanted: SearchFilter) -> dict[str, Any]:
    return {
        "principal": wanted.owner_id,
        "any_owner": wanted.any_owner,
        "owner": wanted.belongs_to,
        "kinds": [kind.value for kind in wanted.kinds],
        "context": wanted.context_id,
        "systems": list(wanted.systems),
        "sources": list(wanted.sources),
        "subject": wanted.subject,
        "metadata": Jsonb(wanted.metadata) if wanted.metadata else None,
        "since": wanted.since,
        "until": wanted.end,
    }


def _order(ranking: Ranking) -> dict[str, Any]:
    return {
        "candidates": ranking.candidates,
        "k": ranking.k,
        "lexical_weight": ranking.lexical_weight,
        "vector_weight": ranking.vector_weight,
        "recency_weight": ranking.recency_weight,
        "half_life_s": ranking.half_life_s,
        "max_half_lives": MAX_HALF_LIVES,
        "now": ranking.now or utc_now(),
        "highlights": ranking.highlights,
        "headline": _HEADLINE,
    }


def _vectors(vectors: Sequence[QueryVector]) -> dict[str, str | float]:
    given: dict[str, str | float] = {}
    for number, vector in enumerate(vectors):
        given[f"vector_{number}"] = HalfVector(list(vector.values)).to_text()
        given[f"space_{number}"] = vector.space
        given[f"share_{number}"] = vector.share
    return given


def _hit(row: dict[str, Any]) -> Hit:
    return Hit(
        passage=Passage(**{name: row[name] for name in Passage.model_fields}),
        score=row["score"],
        lexical_rank=row["lexical_rank"],
        vector_rank=row["vector_rank"],
        explanation=Explanation(
            fused=row["fused"],
            recency=row["recency"],
            relevance=row["relevance"],
            coverage=row["coverage"],
            distance=row["distance"],
            space=row["space"] if row["distance"] is not None else None,
        ),
        highlights=_highlights(row["headline"]),
    )


def _highlights(headline: str | None) -> tuple[str, ...]:
    """The fragments that hold a word of the question; where none does, PostgreSQL gives the text's beginning."""
    fragments = (fragment.strip() for fragment in (headline or "").split(_BETWEEN))
    return tuple(fragment for fragment in fragments if MARK in fragment)

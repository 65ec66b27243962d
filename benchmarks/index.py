"""The vectors' index: how much it finds of what an exact search does, under filters and for a small tenant; its times, building and size.

What is found and how long it takes are both measured through the operation that serves callers, `SearchService.ask`. INDEX_CHUNKS sets
how many passages there are; 100,000 take some five minutes, of which most are spent on building the index twice. Their vectors are random,
or, with INDEX_OF=manual, those of pieces of manual pages. `curve` does the same for each number of CURVE_CHUNKS, with fewer lines for each;
a million takes an hour or two, and INDEX_MEMORY.
"""

import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import psycopg
from pgvector import HalfVector
from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks.manual_vectors import ManualVectors
from benchmarks.measure import Row, Series, latency
from benchmarks.world import World
from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.search import SearchService, open_search
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.passages import QueryVector, Ranking, SearchFilter
from support.embedding import LOCAL_SPACE
from support.passage_rows import DIMENSIONS, SMALL_TENANT, WORDS, Vectors, fill

CHUNKS = int(os.environ.get("INDEX_CHUNKS", "100000"))
CURVE = os.environ.get("CURVE_CHUNKS", "10000,30000,100000,300000")
BUILDING_MEMORY = os.environ.get("INDEX_MEMORY", "512MB")
"""A graph that does not fit is built on disk from there on, many times slower: a million vectors take some 3 GB."""
OF_MANUAL = os.environ.get("INDEX_OF") == "manual"
TIMED = 200
COMPARED = 100
"""Questions: of how many the times are taken, and of how many of these the answers are compared with the exact ones."""
SHOWN = 10
_BEGIN = sql.SQL("BEGIN; SELECT set_config('app.tenant', {}, true)").format(str(DEFAULT_TENANT_ID))
_HNSW = """CREATE INDEX {name} ON passages USING hnsw ((embedding::{type}(384)) {type}_cosine_ops)
           WITH (ef_construction = 128) WHERE space = '{space}'"""
# Written apart from the operation's own exact search, so that both cannot be wrong alike.
_NEAREST = """SELECT id FROM passages WHERE tenant_id = %s AND (%s::jsonb IS NULL OR metadata @> %s)
              ORDER BY embedding::halfvec(384) <=> %s::halfvec(384) LIMIT %s"""


@dataclass(frozen=True)
class Case:
    """Whose passages are searched; the filter keeps those of one system, or all."""

    name: str
    tenant: UUID = DEFAULT_TENANT_ID
    system: str = ""

    @property
    def systems(self) -> tuple[str, ...]:
        return (self.system,) if self.system else ()


WHOLE = Case("100 %")
FILTERED = (Case("10 %", system="ten"), Case("1 %", system="one"))
SMALL = Case("a tenant's 0.5 %", SMALL_TENANT)


@dataclass(frozen=True)
class Filled:
    """`count` passages in the index of `halfvec`; the address is that of a role whom row security holds, as it does those who search."""

    count: int
    vectors: Vectors | ManualVectors
    superuser_url: str
    address: str
    built: str


async def part(world: World) -> list[Row]:
    """Rows for building, recall and times."""
    rows: list[Row] = []
    filled = _filled(world.suite.addresses["postgres"], CHUNKS)
    async with _opened(filled) as service:
        for case in (WHOLE, *FILTERED, SMALL):
            recall = await _recall(service, filled, case)
            rows.append(Row(f"recall@{SHOWN}, {case.name}", f"{recall:.3f}", "1 (exact)", "goal 0.95"))
        rows += [await _times(service, filled, case) for case in (WHOLE, *FILTERED)]
    return [*rows, _building(filled)]


async def curve(world: World) -> list[Row]:
    """For each number of passages: recall without a filter, and the least under one; times; building and size."""
    rows: list[Row] = []
    for count in map(int, CURVE.split(",")):
        filled = _filled(world.suite.addresses["postgres"], count)
        async with _opened(filled) as service:
            rows.append(_printed(await _recalls(service, filled)))
            rows.append(_printed(await _times(service, filled, WHOLE)))
        rows.append(_printed(_building(filled)))
    return rows


async def _recalls(service: SearchService, filled: Filled) -> Row:
    recalls = {case.name: await _recall(service, filled, case) for case in (WHOLE, *FILTERED, SMALL)}
    said = ", ".join(f"{name} {recall:.3f}" for name, recall in recalls.items())
    return Row(f"recall@{SHOWN} of {filled.count:,}", said, "1 (exact)", f"least {min(recalls.values()):.3f}")


def _printed(row: Row) -> Row:
    print(f"    {row.part}: {row.ours} | {row.bare} | {row.ratio}", flush=True)
    return row


def _filled(superuser_url: str, count: int) -> Filled:
    """That many passages and no others."""
    made = (ManualVectors if OF_MANUAL else Vectors)(count, questions=TIMED)
    print(f"  {count:,} passages", flush=True)
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        for index in ("passages_minilm", "bench_halfvec"):
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(index)))
        connection.execute("TRUNCATE passages")
        fill(superuser_url, count, iter(made))
        built = _built(connection, "halfvec")
        connection.execute("VACUUM ANALYZE passages")
        return Filled(count, made, superuser_url, _app_role(connection, superuser_url), built)


def _building(filled: Filled) -> Row:
    """What the index cost, beside one of `vector`, which is dropped again."""
    with psycopg.connect(filled.superuser_url, autocommit=True) as connection:
        beside = _built(connection, "vector")
        connection.execute("DROP INDEX bench_vector")
    return Row(f"index of {filled.count:,}", f"halfvec {filled.built}", f"vector {beside}")


def _built(connection: psycopg.Connection, type_: str) -> str:
    """Build an index with vectors of one type: seconds and size."""
    print(f"  building with {type_} …", flush=True)
    name = f"bench_{type_}"
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(BUILDING_MEMORY)))
    begun = time.perf_counter()
    connection.execute(_HNSW.format(name=name, type=type_, space=LOCAL_SPACE))  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    row = connection.execute("SELECT pg_relation_size(%s::regclass)", (name,)).fetchone()
    assert row is not None
    return f"{seconds:,.0f} s, {row[0] / 2**20:,.0f} MiB"


def _app_role(connection: psycopg.Connection, superuser_url: str) -> str:
    """The address for a role with the rights of requests, whom row security holds."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = 'bench_app'").fetchone() is None:
        connection.execute("CREATE ROLE bench_app LOGIN PASSWORD 'bench' IN ROLE devops_mcp_app")
    scheme, _, rest = superuser_url.partition("://")
    return f"{scheme}://bench_app:bench@{rest.rpartition('@')[2]}"


GIVEN = EmbeddingModel("given", "local", LOCAL_SPACE, DIMENSIONS)


@dataclass
class Given:
    """A provider that has each text's vector already: the model's time is no part of this."""

    vectors: Mapping[str, Sequence[float]]
    model: EmbeddingModel = GIVEN

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        return Embedded([list(self.vectors[text]) for text in texts], self.model)


@asynccontextmanager
async def _opened(filled: Filled) -> AsyncIterator[SearchService]:
    """The operation as a service has it; it knows the vectors of both texts of each question."""
    vectors = {
        text: vector
        for number, vector in enumerate(filled.vectors.questions)
        for text in (_wordless(number), _worded(number))
    }
    async with (
        open_database(filled.address, pool_size=2, application="bench") as database,
        open_search(database, EmbeddingModels([Given(vectors)]), Metrics()) as service,
    ):
        yield service


def _wordless(number: int) -> str:
    """A text that is no other question's, without a word that is looked for: what is found for it is found by its vector."""
    return " ".join(["the"] * (number + 1))


def _worded(number: int) -> str:
    """A text that is no other question's, with two words that one passage of fifty holds each."""
    one, other = WORDS[number % len(WORDS)], WORDS[(number * 3 + 1) % len(WORDS)]
    return f"which {one} of {other} failed in turn {number}?"


def _principal(tenant_id: UUID) -> Principal:
    return Principal(id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.AGENT, name="bench", grants=("*",))


async def _recall(service: SearchService, filled: Filled, case: Case) -> float:
    """The share of the nearest passages that the operation finds, on average."""
    principal, found = _principal(case.tenant), 0.0
    async with await psycopg.AsyncConnection.connect(filled.superuser_url, autocommit=True) as connection:
        await connection.execute("SET enable_indexscan = off")
        for number, vector in enumerate(filled.vectors.questions[:COMPARED]):
            question = Question(query=_wordless(number), systems=case.systems, limit=SHOWN)
            near = {hit.passage.id for hit in (await service.ask(principal, question)).hits}
            exact = await _nearest(connection, case, vector)
            found += len(near & exact) / len(exact)
    return found / COMPARED


async def _nearest(
    connection: psycopg.AsyncConnection[tuple[UUID]], case: Case, vector: Sequence[float]
) -> set[UUID]:
    """Every distance computed, none of the vectors' indexes used."""
    kept = Jsonb({"system": case.system}) if case.system else None
    given = (case.tenant, kept, kept, HalfVector(list(vector)).to_text(), SHOWN)
    return {row[0] for row in await (await connection.execute(_NEAREST, given)).fetchall()}


async def _times(service: SearchService, filled: Filled, case: Case) -> Row:
    """The operation, with highlights and explanations, beside its statements alone.

    Who is first has the server read into its cache what the other finds there, which takes up to six times as long. So the pages of the
    words, of which there are `len(WORDS)` pairs, are read beforehand, and every question is asked twice, with either side first.
    """
    principal = _principal(case.tenant)
    async with await psycopg.AsyncConnection.connect(filled.address, autocommit=True) as connection:

        async def asked(number: int) -> None:
            await service.ask(principal, Question(query=_worded(number), systems=case.systems, limit=SHOWN))

        async def as_sql(number: int) -> None:
            await _bare(connection, _worded(number), filled.vectors.questions[number], case)

        for number in range(len(WORDS)):
            for work in (asked, as_sql):
                await work(number)
        ours, bare = Series(), Series()
        for turn in range(2):
            for number in range(TIMED):
                sides = [(asked, ours), (as_sql, bare)]
                for work, series in sides if (number + turn) % 2 else reversed(sides):
                    begun = time.perf_counter()
                    await work(number)
                    series.seconds.append(time.perf_counter() - begun)
    row = latency(f"search of {filled.count:,}, {case.name}", ours, bare)
    slowest = ours.percentile_ms(99) / bare.percentile_ms(99)
    return Row(row.part, row.ours, row.bare, f"{row.ratio}, p99 {slowest:.1f} ×")


async def _bare(
    connection: psycopg.AsyncConnection[tuple[object, ...]], text: str, vector: Sequence[float], case: Case
) -> None:
    """The same statements and settings in a transaction of its own, one by one, their rows fetched and left as they are."""
    query = QueryVector(LOCAL_SPACE, vector)
    wanted = SearchFilter(new_id(), any_owner=True, systems=case.systems)
    await connection.execute(_BEGIN)
    ground = await passage_search.groundwork(
        connection, DEFAULT_TENANT_ID, text, wanted, Ranking(highlights=True)
    )
    if not ground.few:
        await connection.execute(passage_search.SETTINGS[0])
    given = passage_search.arguments(ground, [query], SHOWN)
    cursor = await connection.execute(passage_search.statement(ground, [query]), given, prepare=False)
    await cursor.fetchall()
    await connection.execute("COMMIT")

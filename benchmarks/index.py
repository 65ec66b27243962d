"""The vectors' index: how much it finds of what an exact search does, under filters and for a small tenant; its times, building and size.

INDEX_CHUNKS sets how many passages there are; 100,000 take some five minutes, of which most are spent on building the index twice. `curve`
does the same for each number of CURVE_CHUNKS, with fewer lines for each; a million takes an hour or two, and INDEX_MEMORY.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import psycopg
from psycopg import sql

from benchmarks.measure import Row, Series, latency
from benchmarks.world import World
from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.search import SearchService
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import QueryVector, Ranking, SearchFilter
from support.embedding import LOCAL_SPACE
from support.passage_rows import DIMENSIONS, SMALL_TENANT, Vectors, fill

CHUNKS = int(os.environ.get("INDEX_CHUNKS", "100000"))
CURVE = os.environ.get("CURVE_CHUNKS", "10000,30000,100000,300000")
BUILDING_MEMORY = os.environ.get("INDEX_MEMORY", "512MB")
"""A graph that does not fit is built on disk from there on, many times slower: a million vectors take some 3 GB."""
ROUNDS = 4
TIMED = 50
FILTERS = {"100 %": (), "10 %": ("ten",), "1 %": ("one",)}
TEXT = "which deployment of checkout failed?"
_BEGIN = sql.SQL("BEGIN; SELECT set_config('app.tenant', {}, true)").format(str(DEFAULT_TENANT_ID))
_HNSW = "CREATE INDEX {name} ON passages USING hnsw ((embedding::{type}(384)) {type}_cosine_ops) WHERE space = '{space}'"


@dataclass(frozen=True)
class Filled:
    """`count` passages, indexed: how to reach them as those who search do, and what building took, by type of the vectors."""

    count: int
    vectors: Vectors
    address: str
    built: dict[str, tuple[float, int]]


async def part(world: World) -> list[Row]:
    """Rows for building, recall and times."""
    filled = _filled(world.suite.addresses["postgres"], CHUNKS)
    rows = [
        Row(f"index of {type_}, {CHUNKS:,}", f"built in {seconds:.1f} s", f"{size / 2**20:.0f} MiB")
        for type_, (seconds, size) in filled.built.items()
    ]
    async with open_database(filled.address, pool_size=2, application="bench") as database:
        for name, systems in FILTERS.items():
            rows.append(_said(name, *await _recall(database, filled.vectors, DEFAULT_TENANT_ID, systems)))
        rows.append(_said("a tenant's 0.5 %", *await _recall(database, filled.vectors, SMALL_TENANT, ())))
        for name, systems in FILTERS.items():
            rows.append(await _times(database, filled, name, systems))
    return rows


async def curve(world: World) -> list[Row]:
    """For each number of passages: recall without a filter, and the least under one; times; building and size."""
    rows = []
    for count in map(int, CURVE.split(",")):
        filled = _filled(world.suite.addresses["postgres"], count)
        async with open_database(filled.address, pool_size=2, application="bench") as database:
            rows += await _point(database, filled)
        print(
            "\n".join(f"    {row.part}: {row.ours} | {row.bare} | {row.ratio}" for row in rows[-3:]),
            flush=True,
        )
    return rows


async def _point(database: Database, filled: Filled) -> list[Row]:
    made, count = filled.vectors, f"{filled.count:,}"
    whole, _ = await _recall(database, made, DEFAULT_TENANT_ID, ())
    cases = [*((DEFAULT_TENANT_ID, systems) for systems in FILTERS.values()), (SMALL_TENANT, ())]
    least = min([(await _recall(database, made, tenant, systems))[0] for tenant, systems in cases])
    halfvec, vector = (_cost(*filled.built[type_]) for type_ in ("halfvec", "vector"))
    return [
        Row(f"recall@10 of {count}", f"{whole:.3f}", "1 (exact)", f"at least {least:.3f} under filters"),
        await _times(database, filled, "100 %", ()),
        Row(f"index of {count}", f"halfvec {halfvec}", f"vector {vector}"),
    ]


def _cost(seconds: float, size: int) -> str:
    return f"{seconds:,.0f} s, {size / 2**20:,.0f} MiB"


def _said(name: str, recall: float, seconds: Series) -> Row:
    times = f"p50 {seconds.percentile_ms(50):.1f} ms, goal 0.95"
    return Row(f"recall@10, {name}", f"{recall:.3f}", "1 (exact)", times)


def _filled(superuser_url: str, count: int) -> Filled:
    """That many passages and no others."""
    made = Vectors(count)
    print(f"  {count:,} passages", flush=True)
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for index in ("passages_minilm", "bench_halfvec", "bench_vector"):
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(index)))
        connection.execute("TRUNCATE passages")
        fill(superuser_url, count, iter(made))
        built = {type_: _built(connection, type_) for type_ in ("vector", "halfvec")}
        connection.execute("DROP INDEX bench_vector")
        connection.execute("VACUUM ANALYZE passages")
        return Filled(count, made, _app_role(connection, superuser_url), built)


def _built(connection: psycopg.Connection, type_: str) -> tuple[float, int]:
    """Build the index anew with vectors of one type: seconds and bytes."""
    print(f"  building with {type_} …", flush=True)
    name = f"bench_{type_}"
    connection.execute(sql.SQL("SET maintenance_work_mem = {}").format(sql.Literal(BUILDING_MEMORY)))
    begun = time.perf_counter()
    connection.execute(_HNSW.format(name=name, type=type_, space=LOCAL_SPACE))  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    row = connection.execute("SELECT pg_relation_size(%s::regclass)", (name,)).fetchone()
    assert row is not None
    return seconds, row[0]


def _app_role(connection: psycopg.Connection, superuser_url: str) -> str:
    """The address for a role with the rights of requests, whom row security holds."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = 'bench_app'").fetchone() is None:
        connection.execute("CREATE ROLE bench_app LOGIN PASSWORD 'bench' IN ROLE devops_mcp_app")
    scheme, _, rest = superuser_url.partition("://")
    return f"{scheme}://bench_app:bench@{rest.rpartition('@')[2]}"


async def _recall(
    database: Database, made: Vectors, tenant: object, systems: tuple[str, ...]
) -> tuple[float, Series]:
    found, seconds = 0.0, Series()
    for question in made.questions:
        begun = time.perf_counter()
        near = await _nearest(database, tenant, question, systems, exact=False)
        seconds.seconds.append(time.perf_counter() - begun)
        exact = await _nearest(database, tenant, question, systems, exact=True)
        found += len(near & exact) / len(exact)
    return found / len(made.questions), seconds


async def _nearest(
    database: Database, tenant: object, question: Sequence[float], systems: tuple[str, ...], *, exact: bool
) -> set[object]:
    wanted = SearchFilter(new_id(), any_owner=True, systems=systems)
    async with database.transaction(tenant) as tx:  # type: ignore[arg-type]
        hits = await tx.passages.search(
            "the", [QueryVector(LOCAL_SPACE, question)], wanted, 10, Ranking(exact=exact)
        )
    return {hit.passage.id for hit in hits}


GIVEN = EmbeddingModel("given", "local", LOCAL_SPACE, DIMENSIONS)


@dataclass
class Given:
    """A provider that has the vector already: the model's time is no part of this."""

    vectors: Iterator[Sequence[float]]
    model: EmbeddingModel

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        return Embedded([list(next(self.vectors))], self.model)


async def _times(database: Database, filled: Filled, name: str, systems: tuple[str, ...]) -> Row:
    """The operation, with highlights and explanations, beside the statement alone."""
    principal = Principal(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="bench", grants=("*",)
    )
    service = SearchService(
        database, EmbeddingModels([Given(cycle(filled.vectors.questions), GIVEN)]), Metrics()
    )
    question = Question(query=TEXT, systems=systems)
    ours, bare = Series(), Series()
    async with await psycopg.AsyncConnection.connect(filled.address, autocommit=True) as connection:
        for _ in range(ROUNDS):
            for vector in filled.vectors.questions[:TIMED]:
                begun = time.perf_counter()
                await service.ask(principal, question)
                ours.seconds.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                await _bare(connection, vector, systems)
                bare.seconds.append(time.perf_counter() - begun)
    return latency(f"search of {filled.count:,}, {name}", ours, bare)


async def _bare(
    connection: psycopg.AsyncConnection[tuple[object, ...]], vector: Sequence[float], systems: tuple[str, ...]
) -> None:
    """The same statements in the same kind of transaction, their rows fetched and left as they are."""
    query = QueryVector(LOCAL_SPACE, vector)
    wanted = SearchFilter(new_id(), any_owner=True, systems=systems)
    await connection.execute(_BEGIN)
    ground = await passage_search.groundwork(
        connection, DEFAULT_TENANT_ID, TEXT, wanted, Ranking(highlights=True)
    )
    if not ground.few:
        await connection.execute(passage_search.SETTINGS)
    given = passage_search.arguments(ground, [query], 10)
    cursor = await connection.execute(passage_search.statement(ground, [query]), given, prepare=False)
    await cursor.fetchall()
    await connection.execute("COMMIT")

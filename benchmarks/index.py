"""The vectors' index: how much it finds of what an exact search does, under filters and for a small tenant; its times, building and size.

INDEX_CHUNKS sets how many passages there are; 100,000 take some five minutes, of which most are spent on building the index twice.
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
ROUNDS = 4
TIMED = 50
FILTERS = {"100 %": (), "10 %": ("ten",), "1 %": ("one",)}
TEXT = "which deployment of checkout failed?"
_BEGIN = sql.SQL("BEGIN; SELECT set_config('app.tenant', {}, true)").format(str(DEFAULT_TENANT_ID))
_HNSW = "CREATE INDEX {name} ON passages USING hnsw ((embedding::{type}(384)) {type}_cosine_ops) WHERE space = '{space}'"


async def part(world: World) -> list[Row]:
    """Rows for building, recall and times."""
    superuser = world.suite.addresses["postgres"]
    made = Vectors(CHUNKS)
    print(f"  {CHUNKS:,} passages", flush=True)
    with psycopg.connect(superuser, autocommit=True) as connection:
        connection.execute("DROP INDEX passages_minilm")
        fill(superuser, CHUNKS, iter(made))
        rows = [_built(connection, "vector"), _built(connection, "halfvec")]
        connection.execute("DROP INDEX bench_vector")
        connection.execute("VACUUM ANALYZE passages")
        app = _app_role(connection, superuser)
    async with open_database(app, pool_size=2, application="bench") as database:
        for name, systems in FILTERS.items():
            rows.append(await _recall(database, made, DEFAULT_TENANT_ID, name, systems))
        rows.append(await _recall(database, made, SMALL_TENANT, "a tenant's 0.5 %", ()))
        for name, systems in FILTERS.items():
            rows.append(await _times(database, app, made, name, systems))
    return rows


def _built(connection: psycopg.Connection, type_: str) -> Row:
    """Build the index anew with vectors of one type."""
    print(f"  building with {type_} …", flush=True)
    name = f"bench_{type_}"
    connection.execute("SET maintenance_work_mem = '512MB'")
    connection.execute("SET statement_timeout = 0")
    begun = time.perf_counter()
    connection.execute(_HNSW.format(name=name, type=type_, space=LOCAL_SPACE))  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    row = connection.execute("SELECT pg_relation_size(%s::regclass)", (name,)).fetchone()
    assert row is not None
    return Row(f"index of {type_}, {CHUNKS:,}", f"built in {seconds:.1f} s", f"{row[0] / 2**20:.0f} MiB")


def _app_role(connection: psycopg.Connection, superuser_url: str) -> str:
    """The address for a role with the rights of requests, whom row security holds."""
    connection.execute("CREATE ROLE bench_app LOGIN PASSWORD 'bench' IN ROLE devops_mcp_app")
    scheme, _, rest = superuser_url.partition("://")
    return f"{scheme}://bench_app:bench@{rest.rpartition('@')[2]}"


async def _recall(
    database: Database, made: Vectors, tenant: object, name: str, systems: tuple[str, ...]
) -> Row:
    found, seconds = 0.0, Series()
    for question in made.questions:
        begun = time.perf_counter()
        near = await _nearest(database, tenant, question, systems, exact=False)
        seconds.seconds.append(time.perf_counter() - begun)
        exact = await _nearest(database, tenant, question, systems, exact=True)
        found += len(near & exact) / len(exact)
    recall = found / len(made.questions)
    return Row(
        f"recall@10, {name}",
        f"{recall:.3f}",
        "1 (exact)",
        f"p50 {seconds.percentile_ms(50):.1f} ms, goal 0.95",
    )


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


async def _times(database: Database, url: str, made: Vectors, name: str, systems: tuple[str, ...]) -> Row:
    """The operation, with highlights and explanations, beside the statement alone."""
    principal = Principal(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="bench", grants=("*",)
    )
    service = SearchService(database, EmbeddingModels([Given(cycle(made.questions), GIVEN)]), Metrics())
    question = Question(query=TEXT, systems=systems)
    ours, bare = Series(), Series()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(ROUNDS):
            for vector in made.questions[:TIMED]:
                begun = time.perf_counter()
                await service.ask(principal, question)
                ours.seconds.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                await _bare(connection, vector, systems)
                bare.seconds.append(time.perf_counter() - begun)
    return latency(f"search of {CHUNKS:,}, {name}", ours, bare)


async def _bare(
    connection: psycopg.AsyncConnection[tuple[object, ...]], vector: Sequence[float], systems: tuple[str, ...]
) -> None:
    """The same statements in the same kind of transaction, their rows fetched and left as they are."""
    query = QueryVector(LOCAL_SPACE, vector)
    wanted = SearchFilter(new_id(), any_owner=True, systems=systems)
    await connection.execute(_BEGIN)
    ground = await passage_search.groundwork(connection, TEXT, wanted, Ranking(highlights=True))
    if ground.few is None:
        await connection.execute(passage_search.SETTINGS)
    given = passage_search.arguments(ground, [query], 10)
    cursor = await connection.execute(passage_search.statement(ground, [query]), given, prepare=False)
    await cursor.fetchall()
    await connection.execute("COMMIT")

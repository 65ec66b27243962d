"""The vectors' index under filters and row security finds what an exact search finds; `benchmarks/index.py` is the large form."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.search import SearchService
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import Groundwork, QueryVector, Ranking, SearchFilter
from support.embedding import LOCAL_SPACE, model
from support.passage_rows import SMALL_TENANT, Vectors, fill

ROWS = 2_000
GOAL = 0.95
SHOWN = 10
CASES = {
    "everything": (DEFAULT_TENANT_ID, ()),
    "a tenth": (DEFAULT_TENANT_ID, ("ten",)),
    "one in a hundred": (DEFAULT_TENANT_ID, ("one",)),
    "a tenant with one in 200": (SMALL_TENANT, ()),
}


GIVEN = model("given")


@dataclass
class Given:
    """A provider of one vector, whatever it is asked."""

    vector: Sequence[float]
    model: EmbeddingModel = GIVEN

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        return Embedded([list(self.vector)], self.model)


@pytest.fixture
def vectors(database) -> Vectors:
    """Filled in, on a database that takes the index although so few rows are sorted as fast."""
    made = Vectors(ROWS, questions=10, clusters=40)
    fill(database.superuser_url, ROWS, iter(made))
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for setting in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
            change = sql.SQL("ALTER DATABASE {} SET {} = off")
            connection.execute(change.format(sql.Identifier(database.name), sql.Identifier(setting)))
    return made


def wanted(systems: tuple[str, ...]) -> SearchFilter:
    return SearchFilter(new_id(), any_owner=True, systems=systems)


def plan(
    database,
    question: QueryVector,
    systems: tuple[str, ...] = (),
    tenant: UUID = DEFAULT_TENANT_ID,
    **settings: str,
) -> str:
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant),))
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        ground = Groundwork(tenant, "the", wanted(systems), Ranking(), "{}", "{}", "{}", few=False)
        arguments = passage_search.arguments(ground, [question], 10)
        statement = sql.SQL("EXPLAIN ") + passage_search.statement(ground, [question])
        return "\n".join(row[0] for row in connection.execute(statement, arguments).fetchall())


def test_a_small_tenants_passages_are_compared_without_the_index(database, vectors):
    """The index holds all tenants' vectors: a small one's are found late there, and not surely the nearest."""
    question, settings = (
        QueryVector(LOCAL_SPACE, vectors.questions[0]),
        {"enable_sort": "on", "enable_bitmapscan": "on"},
    )
    assert "passages_minilm" in plan(database, question, **settings)
    assert "passages_minilm" not in plan(database, question, tenant=SMALL_TENANT, **settings)


def test_what_the_index_gives_nearly_in_order_is_not_taken_for_sorted(database, vectors):
    assert "Presorted" not in plan(
        database, QueryVector(LOCAL_SPACE, vectors.questions[0]), ("one",), enable_sort="on"
    )


@pytest.mark.parametrize("few", [True, False], ids=["few are compared", "index alone"])
async def test_the_index_finds_what_an_exact_search_finds_under_every_filter(
    database, vectors, monkeypatch, few
):
    if not few:
        monkeypatch.setattr(passage_search, "MOST", 0)
    assert "passages_minilm" in plan(database, QueryVector(LOCAL_SPACE, vectors.questions[0]), ("one",))
    recalls = {}
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        for name, (tenant, systems) in CASES.items():
            found, total = 0, 0
            for number in range(len(vectors.questions)):
                near = await asked(opened, vectors, tenant, systems, number, exact=False)
                exact = await asked(opened, vectors, tenant, systems, number, exact=True)
                found += len(near & exact)
                total += len(exact)
            recalls[name] = found / total
            assert total == SHOWN * len(vectors.questions)
    assert min(recalls.values()) >= GOAL, recalls


async def asked(
    opened: Database, vectors: Vectors, tenant: UUID, systems: tuple[str, ...], number: int, *, exact: bool
) -> set[UUID]:
    """What the operation itself finds, for a question without words that are looked for."""
    principal = Principal(id=new_id(), tenant_id=tenant, kind=PrincipalKind.AGENT, name="x", grants=("*",))
    service = SearchService(opened, EmbeddingModels([Given(vectors.questions[number])]), Metrics())
    query = "the " * (number + 1)  # each its own: vectors are remembered by their texts
    question = Question(query=query, systems=systems, exact=exact, limit=SHOWN)
    return {hit.passage.id for hit in (await service.ask(principal, question)).hits}

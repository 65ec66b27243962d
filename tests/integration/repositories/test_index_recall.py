"""The vectors' index under filters and row security finds what an exact search finds; `benchmarks/index.py` is the large form."""

from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.passages import Groundwork, QueryVector, Ranking, SearchFilter
from support.embedding import LOCAL_SPACE
from support.passage_rows import SMALL_TENANT, Vectors, fill

ROWS = 2_000
GOAL = 0.95
CASES = {
    "everything": (DEFAULT_TENANT_ID, ()),
    "a tenth": (DEFAULT_TENANT_ID, ("ten",)),
    "one in a hundred": (DEFAULT_TENANT_ID, ("one",)),
    "a tenant with one in 200": (SMALL_TENANT, ()),
}


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
        ground = Groundwork(tenant, "the", wanted(systems), Ranking(), [], [], [], few=False)
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


@pytest.mark.parametrize("few", [True, False], ids=["few are compared", "index alone"])
async def test_the_index_finds_what_an_exact_search_finds_under_every_filter(
    database, vectors, monkeypatch, few
):
    if not few:
        monkeypatch.setattr(passage_search, "MOST", 0)
    questions = [QueryVector(LOCAL_SPACE, values) for values in vectors.questions]
    assert "passages_minilm" in plan(database, questions[0], ("one",))
    recalls = {}
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        for name, (tenant, systems) in CASES.items():
            found, total = 0, 0
            for question in questions:
                async with opened.transaction(tenant) as tx:
                    near = await tx.passages.search("the", [question], wanted(systems), 10)
                    exact = await tx.passages.search(
                        "the", [question], wanted(systems), 10, Ranking(exact=True)
                    )
                found += len({hit.passage.id for hit in near} & {hit.passage.id for hit in exact})
                total += len(exact)
            recalls[name] = found / total
            assert total == 10 * len(questions)
    assert min(recalls.values()) >= GOAL, recalls

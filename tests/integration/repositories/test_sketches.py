"""A context's passages are compared by sketches of their vectors first: these follow the vectors, and find what comparing all finds."""

from collections.abc import Iterable, Sequence
from typing import LiteralString
from uuid import UUID

import psycopg

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.migrate import migrations
from devops_mcp.repositories.passages import QueryVector, SearchFilter
from support.embedding import LOCAL_SPACE
from support.passage_rows import Vectors
from support.tenants import add_tenant

ITEMS = 1_000
FEW = 30
SHOWN = 40
ANOTHER_TENANT = UUID("00000000-0000-7000-8000-000000000002")


def fill(superuser_url: str, vectors: Iterable[Sequence[float]], tenant_id: UUID = DEFAULT_TENANT_ID) -> UUID:
    """A context of items that hold none of a question's words; its id. The index over all vectors, which costs time, has gone."""
    context_id, owner_id = new_id(), new_id()
    written = ["[" + ",".join(f"{value:.4f}" for value in vector) + "]" for vector in vectors]
    with psycopg.connect(superuser_url) as connection:
        connection.execute("DROP INDEX IF EXISTS passages_minilm")
        connection.execute(
            "INSERT INTO contexts (tenant_id, id, owner_id, title, item_count) VALUES (%s, %s, %s, 'long', %s)",
            (tenant_id, context_id, owner_id, len(written)),
        )
        with connection.cursor().copy(
            "COPY context_items (tenant_id, context_id, position, id, kind, text, tokens) FROM STDIN"
        ) as copy:
            for position in range(1, len(written) + 1):
                copy.write_row((tenant_id, context_id, position, new_id(), "note", "text", 1))
        with connection.cursor().copy(
            "COPY passages (tenant_id, id, kind, source_id, part, context_id, owner_id, title, text, uri, occurred_at, metadata, space,"
            " embedding) FROM STDIN"
        ) as copy:
            for position, vector in enumerate(written, 1):
                row = (tenant_id, new_id(), "context_item", new_id(), 0, context_id, owner_id, "long", "text")
                said = ("devops://x", "2026-11-01T00:00:00Z", f'{{"position": {position}}}')
                copy.write_row((*row, *said, LOCAL_SPACE, vector))
    return context_id


async def by_sketches(
    database: Database, context_id: UUID, vector: QueryVector, tenant_id: UUID = DEFAULT_TENANT_ID
) -> list[int]:
    """The positions that a window's search finds, the best first."""
    among = SearchFilter(new_id(), any_owner=True, context_id=context_id)
    async with database.transaction(tenant_id) as tx:
        ground = await tx.passages.groundwork("unsaid", among)
        return [found.mark.position for found in await tx.context_windows.found(ground, [vector], SHOWN)]


async def by_all(database: Database, context_id: UUID, vector: QueryVector) -> list[int]:
    among = SearchFilter(new_id(), any_owner=True, context_id=context_id)
    async with database.transaction(DEFAULT_TENANT_ID) as tx:
        hits = await tx.passages.search("unsaid", [vector], among, SHOWN)
    return [int(str(hit.passage.metadata["position"])) for hit in hits]


async def test_sketches_find_what_comparing_every_vector_finds(database, monkeypatch):
    vectors = Vectors(ITEMS, questions=10, clusters=10)
    context_id = fill(database.superuser_url, vectors)
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        same, first = 0, 0
        for values in vectors.questions:
            vector = QueryVector(LOCAL_SPACE, values)
            found, wanted = (
                await by_sketches(opened, context_id, vector),
                await by_all(opened, context_id, vector),
            )
            same += len(set(found) & set(wanted))
            first += found[:5] == wanted[:5]
        monkeypatch.setattr(passage_search, "SKETCHED", 7)
        few = await by_sketches(opened, context_id, QueryVector(LOCAL_SPACE, vectors.questions[0]))
    assert same >= 0.97 * SHOWN * len(vectors.questions)
    assert first >= 9
    assert len(few) == 7, "nothing is compared but what the sketches chose"


async def test_a_tenants_sketches_are_its_own(database):
    """T02"""
    add_tenant(database, ANOTHER_TENANT)
    vectors = Vectors(FEW, questions=1)
    theirs = fill(database.superuser_url, vectors, ANOTHER_TENANT)
    vector = QueryVector(LOCAL_SPACE, vectors.questions[0])
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        assert await by_sketches(opened, theirs, vector) == []
        assert len(await by_sketches(opened, theirs, vector, ANOTHER_TENANT)) == FEW


def sketches(superuser_url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(superuser_url) as connection:
        return connection.execute(
            """SELECT s.passage_id, s.space, s.space = p.space AND s.sketch = sketch(p.embedding)
               FROM passage_sketches AS s JOIN passages AS p ON p.id = s.passage_id ORDER BY 1"""
        ).fetchall()


def change(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def test_a_sketch_follows_its_vector_and_goes_with_the_context(database):
    fill(database.superuser_url, Vectors(FEW))
    made = sketches(database.superuser_url)
    change(
        database.superuser_url,
        """UPDATE passages SET space = 'other/8', embedding = '[1,2,3,4,5,6,7,8]'
           WHERE id = (SELECT id FROM passages ORDER BY id LIMIT 1)""",
    )
    followed = sketches(database.superuser_url)
    change(database.superuser_url, "DELETE FROM contexts")
    assert [row[1:] for row in made] == [(LOCAL_SPACE, True)] * FEW
    assert [row[1:] for row in followed] == [("other/8", True), *([(LOCAL_SPACE, True)] * (FEW - 1))]
    assert sketches(database.superuser_url) == []


def test_vectors_of_before_get_their_sketches_whoever_they_are_of(database):
    add_tenant(database, ANOTHER_TENANT)
    for tenant_id in (DEFAULT_TENANT_ID, ANOTHER_TENANT):
        fill(database.superuser_url, Vectors(FEW), tenant_id)
    before = sketches(database.superuser_url)
    change(database.superuser_url, "DELETE FROM passage_sketches")
    [upgrade] = [text for name, text in migrations() if name.startswith("0046")]
    with psycopg.connect(database.owner_url) as connection:
        connection.execute(upgrade.encode())
    assert sketches(database.superuser_url) == before

"""Of a question whose words stand in many passages, the rarer words say which passages are ranked."""

from uuid import UUID

import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import SearchFilter

MANY = 3_000
SOME = 400
OFTEN = "deployment failed"
TWICE = f"{OFTEN}, {OFTEN}"
"""Ranked before `OFTEN` by the same words."""


def fill(superuser_url: str, passages: list[tuple[UUID, str, str]]) -> None:
    """Passages with the systems that they are of, in the order of their ids, and what the planner knows of them."""
    columns = "tenant_id, id, kind, source_id, part, title, text, uri, occurred_at, metadata"
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        with connection.cursor().copy(f"COPY passages ({columns}) FROM STDIN") as copy:
            for id_, text, system in passages:
                told = (text, "devops://x", "2026-11-01T00:00:00Z", f'{{"system": "{system}"}}')
                copy.write_row((DEFAULT_TENANT_ID, id_, "event", id_, 0, "event", *told))
        connection.execute("VACUUM ANALYZE passages")


@pytest.fixture
def oldest(database) -> UUID:
    """A passage of `TWICE`, before many of `OFTEN` and some of `checkout`, which are of a system of their own."""
    oldest = new_id()
    fill(
        database.superuser_url,
        [
            (oldest, TWICE, "harness"),
            *((new_id(), OFTEN, "github") for _ in range(MANY)),
            *((new_id(), f"checkout {number}", "harness") for number in range(SOME)),
        ],
    )
    return oldest


async def found(database: Database, question: str, wanted: SearchFilter | None = None) -> dict[UUID, str]:
    async with database.transaction(DEFAULT_TENANT_ID) as tx:
        hits = await tx.passages.search(question, [], wanted or SearchFilter(new_id()), 100)
    return {hit.passage.id: hit.passage.text for hit in hits}


async def test_where_a_rarer_word_stands_in_enough_passages_these_alone_are_ranked(database, oldest):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        hits = await found(opened, "which deployment of checkout failed?")
    assert hits
    assert all(text.startswith("checkout") for text in hits.values())


async def test_where_it_stands_in_few_the_newest_of_the_others_are_ranked_too(database, oldest):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        hits = await found(opened, "which deployment was 17?")
    assert set(hits.values()) == {"checkout 17", OFTEN}
    assert oldest not in hits


async def test_where_a_filter_leaves_few_passages_every_word_finds_them(database, oldest):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        hits = await found(
            opened, "why did the deployment fail?", SearchFilter(new_id(), systems=("harness",))
        )
    assert list(hits) == [oldest]

"""Indexing and searching passages, against PostgreSQL with pgvector."""

from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.repositories import passage_search
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passage_search import MARK
from devops_mcp.repositories.passages import QueryVector, Ranking, SearchFilter

TENANT = DEFAULT_TENANT_ID
SPACE = "all-MiniLM-L6-v2/int8/384"
ME, OTHER = new_id(), new_id()


def a_passage(text: str) -> NewPassage:
    return NewPassage(
        kind=PassageKind.EVENT,
        source_id=new_id(),
        title="event",
        text=text,
        uri="devops://events/1",
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
    )


def along(axis: int) -> list[float]:
    return [1.0 if i == axis else 0.0 for i in range(384)]


async def index(database: Database, text: str, *, owner: UUID | None = None, axis: int | None = None) -> UUID:
    async with database.transaction(TENANT) as tx:
        [id_] = await tx.passages.add([(new_id(), a_passage(text))], owner_id=owner)
        if axis is not None:
            await tx.passages.set_vectors(SPACE, [(id_, along(axis))])
    return id_


async def found(
    database: Database, query: str, vectors: list[QueryVector], wanted: SearchFilter
) -> list[UUID]:
    async with database.transaction(TENANT) as tx:
        return [hit.passage.id for hit in await tx.passages.search(query, vectors, wanted, 10)]


async def test_any_word_of_the_question_finds_a_passage(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        wanted = await index(opened, "the deployment of checkout failed with a timeout")
        await index(opened, "nothing to see")
        assert await found(opened, "why did the timeout of billing happen", [], SearchFilter(ME)) == [wanted]


async def test_a_question_without_words_finds_nothing(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await index(opened, "something")
        assert await found(opened, "the of ' | & !", [], SearchFilter(ME)) == []


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("PaymentService is slow", ["payment", "the payment service", "PaymentService", "payment-service"]),
        ("the pod was OOMKilled", ["what was killed?", "oom", "OOMKilled"]),
        ("pushed to acme/web-shop", ["web-shop", "acme", "the shop", "acme/web-shop"]),
        ("java/sql-injection in BookService.java", ["sql injection", "which book", "bookservice.java"]),
        ("api.example.com does not answer", ["the api", "example", "api.example.com"]),
        ("reliability_rating of payment-service", ["reliability", "service", "PaymentService"]),
    ],
)
async def test_a_name_is_found_by_the_words_within_and_a_word_by_the_names_that_hold_it(
    database, text, questions
):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        wanted = await index(opened, text)
        await index(opened, "see https://payment.oom/acme/shop/book at 2026-11-01T10:00:00Z")
        for question in questions:
            assert wanted in await found(opened, question, [], SearchFilter(ME)), question
        assert await found(opened, "shop book", [], SearchFilter(ME)) in ([], [wanted])


@pytest.mark.parametrize(
    ("text", "question", "marked"),
    [
        ("PaymentService is slow", "the payment", ["PaymentService"]),
        ("pushed to acme/web-shop by ada", "which shop?", ["acme/web-shop"]),
        ("the pod of web-BookService, not the web", "books", ["BookService"]),
        ("slow: PaymentService, api.example.com", "slow payment", ["slow", "PaymentService"]),
        ("it's acme/shop' | 'and acme/shop", "shop", ["acme/shop", "acme/shop"]),
        ("nothing of Acme/Web but the shop", "shop", ["shop"]),
    ],
)
async def test_a_name_is_marked_where_a_word_within_it_was_asked_for(database, text, question, marked):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await index(opened, text)
        async with opened.transaction(TENANT) as tx:
            [hit] = await tx.passages.search(question, [], SearchFilter(ME), 10, Ranking(highlights=True))
    [highlight] = hit.highlights
    assert highlight.split(MARK)[1::2] == marked


async def test_what_was_indexed_before_names_were_taken_apart_is_found_as_before(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        id_ = await index(opened, "PaymentService of acme/shop is slow")
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE passages SET lexemes = to_tsvector('english', title || ' ' || text)")
        for question in ("PaymentService", "acme/shop", "slow"):
            assert await found(opened, question, [], SearchFilter(ME)) == [id_], question


async def test_meaning_finds_what_words_do_not_and_both_together_come_first(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        near = await index(opened, "pipeline broke", axis=0)
        both = await index(opened, "build failed", axis=0)
        far = await index(opened, "lunch menu", axis=5)
        hits = await found(opened, "failed build", [QueryVector(SPACE, along(0))], SearchFilter(ME))
    assert hits == [both, near, far]


async def test_another_owners_passage_is_found_only_by_who_may_see_all(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        theirs = await index(opened, "secret plan", owner=OTHER, axis=1)
        vector = [QueryVector(SPACE, along(1))]
        assert await found(opened, "plan", vector, SearchFilter(ME)) == []
        assert await found(opened, "plan", vector, SearchFilter(ME, any_owner=True)) == [theirs]


async def test_indexing_again_changes_nothing(database):
    passage = a_passage("once")
    async with (
        open_database(database.app_url, pool_size=2, application="test") as opened,
        opened.transaction(TENANT) as tx,
    ):
        first = await tx.passages.add([(new_id(), passage)], owner_id=None)
        again = await tx.passages.add([(new_id(), passage)], owner_id=None)
    assert len(first) == 1
    assert again == []


LABELLED = {
    "first": {"system": "github", "source": "gh", "subject": "acme/shop", "labels": {"team": "a"}},
    "second": {"system": "gitlab", "source": "gl", "subject": "acme/pay"},
}
NARROWED = [
    (SearchFilter(ME, systems=("github", "jira")), {"first"}),
    (SearchFilter(ME, sources=("gl",)), {"second"}),
    (SearchFilter(ME, subject="acme/pay"), {"second"}),
    (SearchFilter(ME, metadata={"labels": {"team": "a"}}), {"first"}),
    (SearchFilter(ME, since=datetime(2026, 11, 1, tzinfo=UTC)), {"first", "second"}),
    (SearchFilter(ME, until=datetime(2026, 11, 1, tzinfo=UTC)), set()),
    (SearchFilter(ME, belongs_to=ME), set()),
    (SearchFilter(ME, systems=("github",), subject="acme/pay"), set()),
]


@pytest.mark.parametrize("most", [0, 2_000], ids=["by the index", "compared"])
async def test_filters_hold_for_what_is_found_by_meaning(database, monkeypatch, most):
    monkeypatch.setattr(passage_search, "MOST", most)
    vectors = [QueryVector(SPACE, along(3))]
    async with (
        open_database(database.app_url, pool_size=1, application="test") as opened,
        opened.transaction(TENANT) as tx,
    ):
        for title, metadata in LABELLED.items():
            labelled = a_passage("text").model_copy(update={"title": title, "metadata": metadata})
            [id_] = await tx.passages.add([(new_id(), labelled)], owner_id=None)
            await tx.passages.set_vectors(SPACE, [(id_, along(3))])
        found = [
            {hit.passage.title for hit in await tx.passages.search("zzz", vectors, wanted, 10)}
            for wanted, _ in NARROWED
        ]
    assert found == [expected for _, expected in NARROWED]

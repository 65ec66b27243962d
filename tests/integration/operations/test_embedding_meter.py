"""What the local model embeds is counted: passages at once, questions together a while later and beside them."""

from datetime import timedelta

import psycopg

from devops_mcp.embedding.base import EmbeddingModel, Purpose
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.operations.embedding_meter import WRITTEN_AFTER, EmbeddingMeter
from devops_mcp.repositories.database import open_database
from support.embedding import FakeProvider


async def test_what_costs_nothing_is_counted_too(database):
    ann, bob, now = new_id(), new_id(), utc_now()
    provider = FakeProvider(EmbeddingModel("local", "local", "here/384", 384))
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        meter = EmbeddingMeter(opened, now=lambda: now)

        async def counted() -> dict[object, tuple[int, int, float]]:
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                report = await tx.embeddings.usage(None, now - timedelta(days=1), now + timedelta(days=1), 10)
            return {row.principal_id: (row.texts, row.tokens, row.cost_usd) for row in report.items}

        async def ask(principal, text: str) -> None:
            await meter.embed(provider, DEFAULT_TENANT_ID, principal, [text], Purpose.QUESTION)

        await meter.embed(provider, DEFAULT_TENANT_ID, ann, ["one two", "three"])
        assert await counted() == {ann: (2, 3, 0.0)}
        await ask(ann, "why was that?")
        await ask(bob, "who was it?")
        assert await counted() == {ann: (2, 3, 0.0)}
        now += WRITTEN_AFTER
        await ask(bob, "and when?")
        await meter.written()
        assert await counted() == {ann: (3, 6, 0.0), bob: (2, 5, 0.0)}
        await ask(bob, "where?")
        await meter.written()
        assert (await counted())[bob] == (2, 5, 0.0)
        await meter.close()
        assert (await counted())[bob] == (3, 6, 0.0)


async def test_no_question_waits_for_the_account_of_those_before(database):
    """Without room for it, it is kept for the next time."""
    ann, now = new_id(), utc_now()
    provider = FakeProvider(EmbeddingModel("local", "local", "here/384", 384))
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        meter = EmbeddingMeter(opened, now=lambda: now)

        async def ask(text: str) -> None:
            await meter.embed(provider, DEFAULT_TENANT_ID, ann, [text], Purpose.QUESTION)

        await ask("why was that?")
        now += WRITTEN_AFTER
        with psycopg.connect(database.superuser_url) as holder:
            holder.execute("LOCK TABLE embedding_usage IN ACCESS EXCLUSIVE MODE")
            await ask("and when?")
            await meter.written()  # the database gives up after 5 s
        now += WRITTEN_AFTER
        await ask("where?")
        await meter.written()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            report = await tx.embeddings.usage(None, now - timedelta(days=1), now + timedelta(days=1), 10)
        assert [(row.principal_id, row.texts, row.tokens) for row in report.items] == [(ann, 3, 6)]


async def test_a_question_that_was_paid_for_waits_for_no_account_when_it_is_asked_again(database):
    ann, now = new_id(), utc_now()
    provider = FakeProvider()
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        meter = EmbeddingMeter(opened, now=lambda: now)

        async def ask() -> int:
            embedded = await meter.embed(
                provider, DEFAULT_TENANT_ID, ann, ["why was that?"], Purpose.QUESTION
            )
            return embedded.cached

        assert await ask() == 0
        with psycopg.connect(database.superuser_url) as holder:
            holder.execute("LOCK TABLE embedding_usage IN ACCESS EXCLUSIVE MODE")
            assert [await ask(), await ask()] == [1, 1]
        await meter.close()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            report = await tx.embeddings.usage(None, now - timedelta(days=1), now + timedelta(days=1), 10)
        assert [(row.texts, row.cached, row.tokens) for row in report.items] == [(3, 2, 3)]
    assert len(provider.texts) == 1

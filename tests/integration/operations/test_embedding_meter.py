"""What the local model embeds is counted: passages at once, questions together a while later."""

from datetime import timedelta

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
        assert await counted() == {ann: (3, 6, 0.0), bob: (2, 5, 0.0)}
        await ask(bob, "where?")
        assert (await counted())[bob] == (2, 5, 0.0)

"""A change of model: every passage is brought into the new space once, and is found all the while."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from redis.asyncio import Redis

from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import MESSAGE, EmbeddingRequested
from devops_mcp.models.embeddings import TENANT
from devops_mcp.models.errors import Unavailable, UpstreamRateLimited, UpstreamRejected, UpstreamUnauthorized
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind, Question
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.operations.reembedding import ASKED_AGAIN_AFTER, CHECKED_AGAIN_AFTER, Reembedding
from devops_mcp.operations.search import SearchService
from devops_mcp.operations.vectors import PassageEmbedder
from devops_mcp.repositories.database import Database, open_database
from support.embedding import LOCAL_SPACE, FakeProvider, model

NEW_SPACE = "new-model/16"
ME = Principal(id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="me", grants=("*",))
OTHER = new_id()
CHUNK = 4


@dataclass
class Bench:
    """Two models, and the worker's part of embedding with them; `now` is moved by the test."""

    database: Database
    old: FakeProvider = field(default_factory=lambda: FakeProvider(model("old")))
    new: FakeProvider = field(
        default_factory=lambda: FakeProvider(model("new", space=NEW_SPACE, dimensions=16))
    )
    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)

    @property
    def models(self) -> EmbeddingModels:
        return EmbeddingModels([self.old, self.new])

    async def index(self, *texts: str, owner: UUID | None = None) -> list[UUID]:
        passages = [
            NewPassage(
                kind=PassageKind.EVENT,
                source_id=new_id(),
                title="",
                text=text,
                uri="devops://events/1",
                occurred_at=self.now,
            )
            for text in texts
        ]
        async with self.database.transaction(DEFAULT_TENANT_ID) as tx:
            return await tx.passages.add([(new_id(), p) for p in passages], owner_id=owner)

    async def turn(self, models: EmbeddingModels | None = None) -> int:
        again = Reembedding(self.database, models or self.models, chunk=CHUNK, now=lambda: self.now)
        return (await again.turn(DEFAULT_TENANT_ID)).asked

    async def requested(self) -> list[EmbeddingRequested]:
        async with self.database.relaying() as relay:
            rows = await relay.take(1_000)
            await relay.remove([row.id for row in rows])
        messages = [MESSAGE.validate_json(row.message) for row in rows]
        return [m for m in messages if isinstance(m, EmbeddingRequested)]

    async def embed(self, models: EmbeddingModels | None = None) -> None:
        embedder = PassageEmbedder(self.database, models or self.models)
        await embedder.process(DEFAULT_TENANT_ID, await self.requested())

    async def settle(self, models: EmbeddingModels | None = None) -> int:
        """Turns and their work until nothing is asked for; how many passages were."""
        asked = 0
        while count := await self.turn(models):
            asked += count
            await self.embed(models)
        return asked

    async def choose(self, name: str | None, owner: UUID | None) -> None:
        quotas = QuotaKeeper(self.database, Redis())
        await EmbeddingService(self.database, self.models, quotas).choose(ME, name, owner)

    async def ask(self, text: str) -> dict[str, int | None]:
        """The texts that mean the question, with their rank by meaning."""
        service = SearchService(self.database, self.models, Metrics())
        answer = await service.ask(ME, Question(query=text, limit=50))
        return {hit.passage.text: hit.vector_rank for hit in answer.hits if hit.vector_rank}


@pytest.fixture
async def bench(database) -> AsyncIterator[Bench]:
    async with open_database(database.worker_url, pool_size=3, application="test") as opened:
        yield Bench(opened)


def spaces(database) -> dict[str | None, int]:
    with psycopg.connect(database.superuser_url) as connection:
        rows = connection.execute("SELECT space, count(*) FROM passages GROUP BY space").fetchall()
    return {row[0]: row[1] for row in rows}


async def test_passages_from_before_there_was_a_model_get_their_vectors(bench, database):
    await bench.index(*(f"text {number}" for number in range(10)))
    assert await bench.settle() == 10
    assert spaces(database) == {LOCAL_SPACE: 10}
    assert len(bench.old.texts) == 10


async def test_a_suspended_tenant_is_left_alone_so_that_an_erased_one_stays_empty(bench, database):
    await bench.index("a text")
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("UPDATE tenants SET suspended_at = now()")
        assert await bench.turn() == 0
        assert connection.execute("SELECT count(*) FROM embedding_choices").fetchone() == (0,)
        connection.execute("UPDATE tenants SET suspended_at = NULL")
        assert await bench.turn() == 1


async def test_another_model_takes_over_chunk_by_chunk_while_all_is_found(bench, database):
    texts = [f"text number {number}" for number in range(10)]
    await bench.index(*texts)
    await bench.settle()
    await bench.choose("new", None)
    counts = []
    while await bench.turn():
        await bench.embed()
        counts.append(spaces(database).get(NEW_SPACE))
        for text in (texts[0], texts[9]):
            rank = (await bench.ask(text))[text]
            assert rank is not None
            assert rank <= 3  # the best of a space that holds a fifth is placed like the third of all
    assert counts == [4, 8, 10]
    assert sorted(bench.new.texts[:4]) == sorted(f"\n{text}" for text in texts[:4])


async def test_a_turn_waits_for_its_chunk_and_asks_again_only_for_what_was_given_up(bench, database):
    await bench.index(*(f"text {number}" for number in range(6)))
    assert await bench.turn() == CHUNK
    lost = await bench.requested()  # as if its message had been given up
    assert await bench.turn() == 0
    bench.now += ASKED_AGAIN_AFTER + timedelta(seconds=1)
    assert await bench.turn() == CHUNK
    await bench.embed()
    assert await bench.settle() == 2
    await PassageEmbedder(bench.database, bench.models).process(DEFAULT_TENANT_ID, lost)
    assert spaces(database) == {LOCAL_SPACE: 6}
    assert len(bench.old.texts) == 6  # the message that came late after all found nothing to do


async def test_a_worker_that_dies_between_model_and_commit_loses_and_repeats_nothing(bench, database):
    """D01: what was paid for is not asked for again."""
    await bench.index(*(f"text {number}" for number in range(4)))
    await bench.turn()
    messages = await bench.requested()
    embedder = PassageEmbedder(bench.database, bench.models)
    killed = bench.database.transaction

    def dies_at_the_fourth(tenant_id, count=[0]):  # noqa: B006 - counts over the calls
        count[0] += 1
        if count[0] == 4:
            raise ConnectionError("killed")
        return killed(tenant_id)

    bench.database.transaction = dies_at_the_fourth
    with pytest.raises(ConnectionError):
        await embedder.process(DEFAULT_TENANT_ID, messages)
    bench.database.transaction = killed
    assert spaces(database) == {None: 4}
    fresh = await PassageEmbedder(bench.database, bench.models).process(DEFAULT_TENANT_ID, messages)
    assert fresh == {message.id for message in messages}
    assert spaces(database) == {LOCAL_SPACE: 4}
    assert len(bench.old.texts) == 4


async def test_each_agent_has_its_own_model_and_all_is_searched(bench, database):
    await bench.index("the tenant's own", owner=None)
    await bench.index("my own words", owner=ME.id)
    await bench.index("the other's words", owner=OTHER)
    await bench.choose("new", ME.id)
    await bench.settle()
    assert spaces(database) == {LOCAL_SPACE: 2, NEW_SPACE: 1}
    assert set(await bench.ask("zzz")) == {"the tenant's own", "my own words", "the other's words"}
    await bench.choose(None, ME.id)
    await bench.settle()
    assert spaces(database) == {LOCAL_SPACE: 3}


async def test_a_choice_that_changes_while_the_model_computes_is_not_overwritten(bench, database):
    await bench.index("text")
    await bench.turn()
    messages = await bench.requested()
    embed = bench.old.embed

    async def slowly(*arguments):
        await bench.choose("new", None)
        return await embed(*arguments)

    bench.old.embed = slowly
    await PassageEmbedder(bench.database, bench.models).process(DEFAULT_TENANT_ID, messages)
    assert spaces(database) == {None: 1}
    await bench.settle()
    assert spaces(database) == {NEW_SPACE: 1}


async def test_a_model_that_the_operator_takes_away_gives_way_to_the_default(bench, database):
    await bench.index("text")
    await bench.choose("new", None)
    await bench.settle()
    assert spaces(database) == {NEW_SPACE: 1}
    left = EmbeddingModels([bench.old])
    assert await bench.settle(left) == 1
    assert spaces(database) == {LOCAL_SPACE: 1}


async def test_passages_wait_for_a_model_that_cannot_be_asked_and_not_for_one_that_refuses_them(bench):
    await bench.index("text")
    await bench.turn()
    messages = await bench.requested()
    embedder = PassageEmbedder(bench.database, bench.models)
    for failure in (UpstreamUnauthorized("key revoked"), UpstreamRateLimited("slow down", retry_after_s=7)):
        bench.old.failing = failure
        with pytest.raises(Unavailable) as waits:
            await embedder.process(DEFAULT_TENANT_ID, messages)
        assert waits.value.retry_after_s == failure.retry_after_s
    bench.old.failing = UpstreamRejected("too long")
    with pytest.raises(UpstreamRejected):
        await embedder.process(DEFAULT_TENANT_ID, messages)


async def test_what_was_given_up_after_all_was_done_is_found_a_day_later(bench, database):
    await bench.index("first")
    await bench.settle()
    await bench.index("given up")
    assert await bench.turn() == 0
    bench.now += CHECKED_AGAIN_AFTER + timedelta(minutes=1)
    assert await bench.settle() == 1
    assert spaces(database) == {LOCAL_SPACE: 2}


async def test_a_space_has_an_index_before_its_first_vector(bench, database):
    await bench.index("text")
    await bench.choose("new", None)
    await bench.settle()
    async with bench.database.transaction(DEFAULT_TENANT_ID) as tx:
        rows = await tx.embeddings.choices()
    with psycopg.connect(database.superuser_url) as connection:
        definitions = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'passages' AND indexdef LIKE '%hnsw%'"
        ).fetchall()
    assert all("ef_construction='128'" in d for (d,) in definitions)
    [indexed] = [d for (d,) in definitions if "passages_space_" in d]
    assert "halfvec(16)" in indexed
    assert f"'{NEW_SPACE}'" in indexed
    assert [(row.owner_id, row.finished_at is not None) for row in rows] == [(TENANT, True)]
    assert not await bench.database.ensure_space_index(NEW_SPACE, 16)

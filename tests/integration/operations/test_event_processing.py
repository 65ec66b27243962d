"""Events getting their effect, against PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest

from devops_mcp.cache.notices import Gap, Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import MESSAGE, EmbeddingRequested, EventReceived, Message
from devops_mcp.models.errors import PoisonMessage
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, EventProcessor, index_events_anew
from devops_mcp.operations.vectors import PassageEmbedder
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.passages import QueryVector, SearchFilter
from support.embedding import FakeProvider, vector_of
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build

TENANT = DEFAULT_TENANT_ID
ANOTHER_TENANT = UUID("00000000-0000-7000-8000-000000000002")


@dataclass
class Bench:
    """The worker's database and a processor on it."""

    database: Database
    notices: Notices
    processor: EventProcessor

    async def take_in(self, *numbers: int) -> list[EventReceived]:
        """Receive a failed build for each number; the messages that the outbox holds for them."""
        intake = EventIntake(self.database, Metrics())
        for number in numbers:
            given = delivery(failed_build(str(number)), id_=str(number))
            await intake.receive("ci", SOURCE, ORIGIN, (SECRET,), given)
        return [m for m in await self.drain_outbox() if isinstance(m, EventReceived)]

    async def drain_outbox(self) -> list[Message]:
        async with self.database.relaying() as relay:
            rows = await relay.take(1_000)
            await relay.remove([row.id for row in rows])
        return [MESSAGE.validate_json(row.message) for row in rows]

    async def count(self, question: str) -> int:
        wanted = SearchFilter(owner_id=new_id())
        async with self.database.transaction(TENANT) as tx:
            return len(await tx.passages.search(question, [], wanted, 50))

    async def processed(self, messages: Sequence[EventReceived]) -> list[bool]:
        async with self.database.transaction(TENANT) as tx:
            stored = await tx.events.find([message.event_id for message in messages])
        return [s.processed_at is not None for s in stored]


@pytest.fixture
async def bench(database, redis_url) -> AsyncIterator[Bench]:
    async with (
        open_database(database.worker_url, pool_size=10, application="test") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
    ):
        notices = Notices(redis, Metrics())
        yield Bench(opened, notices, EventProcessor(opened, notices, embeds=True))


@asynccontextmanager
async def hearing(notices: Notices):
    async with aclosing(notices.listen()) as listener, asyncio.timeout(60):
        assert await anext(listener) == Gap(listening=True)
        yield listener


async def test_a_group_of_events_is_indexed_marked_and_told(bench):
    messages = await bench.take_in(1, 2, 3)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    async with hearing(bench.notices) as listener:
        fresh = await bench.processor.process(TENANT, messages, {messages[0].id: trace})
        heard = [await anext(listener) for _ in messages]
    assert fresh == {message.id for message in messages}
    assert await bench.processed(messages) == [True] * 3
    assert await bench.count("which builds broke on the main branch?") == 3
    [requested] = await bench.drain_outbox()
    assert isinstance(requested, EmbeddingRequested)
    assert len(requested.passage_ids) == 3
    assert {notice.event_id for notice in heard} == {message.event_id for message in messages}
    assert [n.traceparent for n in heard if n.event_id == messages[0].event_id] == [trace]


async def test_a_second_delivery_changes_nothing_and_is_told_again(bench):
    """D02"""
    messages = await bench.take_in(1, 2)
    await bench.processor.process(TENANT, messages)
    await bench.drain_outbox()
    async with hearing(bench.notices) as listener:
        fresh = await bench.processor.process(TENANT, messages)
        heard = {(await anext(listener)).event_id for _ in messages}
    assert fresh == set()
    assert heard == {message.event_id for message in messages}
    assert await bench.count("builds that broke") == 2
    assert await bench.drain_outbox() == []


async def test_batches_that_come_at_once_share_a_transaction_and_one_with_poison_fails_alone(bench):
    messages = await bench.take_in(*range(6))
    poison = messages[0].model_copy(update={"id": new_id(), "event_id": new_id()})
    batches = [messages[:2], [*messages[2:4], poison], [messages[0], *messages[4:]]]
    first = asyncio.create_task(bench.processor.process(TENANT, batches[0]))
    others = [asyncio.create_task(bench.processor.process(TENANT, batch)) for batch in batches[1:]]
    done = await asyncio.gather(first, *others, return_exceptions=True)
    assert done[0] == {message.id for message in messages[:2]}
    assert isinstance(done[1], PoisonMessage)
    assert done[2] == {message.id for message in messages[4:]}
    assert await bench.processed(messages) == [True, True, False, False, True, True]


async def test_the_same_messages_in_parallel_have_one_effect_each(bench):
    messages = await bench.take_in(*range(20))
    groups = [messages, messages[::-1], messages[5:] + messages[:5], messages + messages]
    fresh = await asyncio.gather(*(bench.processor.process(TENANT, group) for group in groups))
    assert sorted(id_ for ids in fresh for id_ in ids) == sorted(message.id for message in messages)
    assert await bench.count("builds that broke") == 20


async def test_an_unknown_event_is_poison_and_holds_back_the_whole_group(bench):
    """D12"""
    messages = await bench.take_in(1)
    unknown = EventReceived(id=new_id(), tenant_id=TENANT, event_id=new_id())
    with pytest.raises(PoisonMessage):
        await bench.processor.process(TENANT, [*messages, unknown])
    assert await bench.processed(messages) == [False]
    assert await bench.processor.process(TENANT, messages) == {messages[0].id}


async def test_a_message_that_names_another_tenant_finds_nothing(bench):
    messages = await bench.take_in(1)
    with pytest.raises(PoisonMessage):
        await bench.processor.process(ANOTHER_TENANT, messages)
    assert await bench.processed(messages) == [False]


async def test_without_redis_events_are_processed_all_the_same(bench):
    """R01"""
    messages = await bench.take_in(1)
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        processor = EventProcessor(bench.database, Notices(redis, Metrics()), embeds=False)
        assert await processor.process(TENANT, messages) == {messages[0].id}
    assert await bench.processed(messages) == [True]
    assert await bench.drain_outbox() == []


async def test_requested_passages_get_their_vectors_once(bench):
    await bench.processor.process(TENANT, await bench.take_in(1, 2))
    requested = [m for m in await bench.drain_outbox() if isinstance(m, EmbeddingRequested)]
    provider = FakeProvider(alike=True)
    embedder = PassageEmbedder(bench.database, EmbeddingModels([provider]))
    first = await embedder.process(TENANT, requested)
    again = await embedder.process(TENANT, requested)
    vector = QueryVector(provider.model.space, vector_of(""))
    async with bench.database.transaction(TENANT) as tx:
        hits = await tx.passages.search("zzz", [vector], SearchFilter(owner_id=new_id()), 10)
    assert (first, again) == ({message.id for message in requested}, set())
    assert len(provider.texts) == 2
    assert all("broke" in text for text in provider.texts)
    assert [hit.vector_rank for hit in hits] == [1, 2]


async def test_passages_that_a_replay_has_made_before_stay_as_they_are(bench):
    messages = await bench.take_in(1, 2)
    async with bench.database.transaction(TENANT) as tx:
        [earlier] = await tx.events.find([messages[0].event_id])
        await index_events_anew(tx, [earlier.event], embeds=True)
    assert await bench.processor.process(TENANT, messages) == {message.id for message in messages}
    provider = FakeProvider(alike=True)
    requested = [m for m in await bench.drain_outbox() if isinstance(m, EmbeddingRequested)]
    await PassageEmbedder(bench.database, EmbeddingModels([provider])).process(TENANT, requested)
    assert len(provider.texts) == await bench.count("builds that broke") == 2


async def test_events_are_processed_in_two_exchanges_with_the_database(bench, monkeypatch):
    """What they are, and all that they bring about with its commit."""
    messages = await bench.take_in(1, 2)
    processor = EventProcessor(bench.database, bench.notices, embeds=False)
    await bench.database.ping()
    exchanges = []
    wait = Connection.wait

    async def counted(connection, generator, *args, **options):
        exchanges.append(connection)
        return await wait(connection, generator, *args, **options)

    monkeypatch.setattr(Connection, "wait", counted)
    assert len(await processor.process(TENANT, messages)) == 2
    assert len(exchanges) == 2
    assert await bench.count("builds that broke") == 2

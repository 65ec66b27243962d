"""A worker that is killed while it brings passages into a new space."""

import asyncio
import json
import signal
from collections import Counter

import psycopg

from devops_mcp.events.connection import open_sqs
from devops_mcp.events.queues import QueueName
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.passages import NewPassage, PassageKind
from devops_mcp.repositories.database import open_database
from support.embedding_services import EmbeddingFake, openai
from support.servers import serve
from support.worker_process import a_worker

PASSAGES = 300
BATCH = 16
WITHIN_S = 60


class Stalling(EmbeddingFake):
    """Answers `answered` requests, and leaves the others without an answer until it is let go."""

    def __init__(self, answered: int) -> None:
        super().__init__(openai)
        self.left = answered
        self.stalled = asyncio.Event()
        self.go_on = asyncio.Event()
        self.unanswered: list[str] = []

    async def __call__(self, scope, receive, send) -> None:
        if self.left <= 0 and not self.go_on.is_set():
            self.stalled.set()
            message = await receive()
            self.unanswered += json.loads(message["body"])["input"]
            await self.go_on.wait()
            return
        self.left -= 1
        await super().__call__(scope, receive, send)

    @property
    def answered(self) -> Counter[str]:
        return Counter(text for body in self.bodies for text in body["input"])


async def index(database) -> None:
    async with (
        open_database(database.worker_url, pool_size=1, application="test") as opened,
        opened.transaction(DEFAULT_TENANT_ID) as tx,
    ):
        passages = [
            NewPassage(
                kind=PassageKind.EVENT,
                source_id=new_id(),
                title="event",
                text=f"number {number}",
                uri="devops://events/1",
                occurred_at=utc_now(),
            )
            for number in range(PASSAGES)
        ]
        await tx.passages.add([(new_id(), passage) for passage in passages], owner_id=None)


async def all_embedded(database) -> None:
    async with (
        asyncio.timeout(WITHIN_S),
        await psycopg.AsyncConnection.connect(database.superuser_url, autocommit=True) as connection,
    ):
        lacking = "SELECT count(*) FROM passages WHERE space IS DISTINCT FROM 'dear/8'"
        while (await (await connection.execute(lacking)).fetchone()) != (0,):
            await asyncio.sleep(0.1)


async def queues_emptied(queues) -> None:
    async with open_sqs(endpoint_url=queues.endpoint_url, region=queues.region) as client:
        name = f"{queues.prefix}{QueueName.EMBEDDINGS.value}"
        url = (await client.get_queue_url(QueueName=name))["QueueUrl"]
        await client.purge_queue(QueueUrl=url)


async def test_a_worker_killed_during_a_reembedding_loses_nothing_and_pays_again_only_for_what_had_no_answer(
    database, redis_url, queues
):
    """D01"""
    await index(database)
    fake = Stalling(answered=12)
    async with serve(fake) as url:
        model = {"name": "dear", "provider": "openai", "dimensions": 8, "base_url": url, "max_batch": BATCH}
        settings = {
            "DATABASE_URL": database.worker_url,
            "REDIS_URL": redis_url,
            "MASTER_KEYS": '["a master key for the tests, and nothing else"]',
            "SQS_ENDPOINT_URL": queues.endpoint_url,
            "QUEUE_PREFIX": queues.prefix,
            "PRIVATE_NETWORKS": '["127.0.0.0/8"]',
            "EMBEDDING_MODELS": json.dumps([model]),
        }
        async with a_worker(settings) as first:
            async with asyncio.timeout(WITHIN_S):
                await fake.stalled.wait()
            await first.end(signal.SIGKILL)
        # The queue gives its messages back a minute later; here they are lost altogether, and ten minutes pass at once.
        await queues_emptied(queues)
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE embedding_choices SET asked_at = asked_at - interval '11 minutes'")
        before = set(fake.answered)
        fake.go_on.set()
        async with a_worker(settings):
            await all_embedded(database)
    again = {text for text, count in fake.answered.items() if count > 1}
    assert set(fake.answered) == {f"event\nnumber {number}" for number in range(PASSAGES)}
    assert before
    # Of the answers that were under way together none is kept before all are there; nothing older is asked for again.
    assert max(fake.answered.values()) <= 2
    assert len(again) <= 2 * 128
    with psycopg.connect(database.superuser_url) as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT source_id) FROM passages").fetchone()
    assert row == (PASSAGES, PASSAGES)

"""Whole workers, ended the soft way and the hard way; afterwards the invariants are counted in PostgreSQL."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.notices import Gap, Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import Depth, SqsQueue, open_queues
from devops_mcp.models.base import utc_now
from devops_mcp.models.ids import new_id
from devops_mcp.models.pages import NEWEST, Page
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.results import KeptResult
from devops_mcp.models.webhooks import DeliveryStatus, EndpointDraft, WebhookDelivery
from devops_mcp.observability.metrics import Metrics
from devops_mcp.observability.tracing import carry, spanned
from devops_mcp.operations.events import EventIntake
from devops_mcp.operations.result_indexing import announced
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService
from devops_mcp.repositories.database import Database, open_database
from support.servers import LOOPBACK, Answers, serve
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build
from support.worker_process import a_worker

MASTER_KEY = "a master key for the tests, and nothing else"
EMPTY = Depth(ready=0, in_flight=0, delayed=0)


@dataclass
class Bench:
    """What a worker works on, seen from outside."""

    intake: EventIntake
    database: Database
    queue: SqsQueue
    settings: dict[str, str]
    superuser_url: str

    async def take_in(self, count: int) -> list[UUID]:
        return [event_id for number in range(count) for event_id in await self.take_in_one(number)]

    async def take_in_one(self, number: int) -> tuple[UUID, ...]:
        given = delivery(failed_build(str(number)), id_=str(number))
        return (await self.intake.receive("ci", SOURCE, ORIGIN, (SECRET,), given)).event_ids

    async def processed(self) -> int:
        return await self._count("events WHERE processed_at IS NOT NULL")

    async def until_processed(self, count: int) -> None:
        while await self.processed() < count:
            await asyncio.sleep(0.02)

    async def until_at_rest(self) -> None:
        """Until nothing is in the outbox or in the queue (I10)."""
        while await self._count("outbox") or await self.queue.depth() != EMPTY:
            await asyncio.sleep(0.1)

    async def effects(self) -> dict[str, int]:
        """How often events had which effect (I1, I4)."""
        return {
            "processed": await self.processed(),
            "claimed": await self._count("processed_messages"),
            "indexed": await self._count("passages"),
        }

    async def _count(self, of: str) -> int:
        async with await psycopg.AsyncConnection.connect(self.superuser_url) as connection:
            cursor = await connection.execute(f"SELECT count(*) FROM {of}")  # type: ignore[arg-type]
            row = await cursor.fetchone()
            return row[0] if row else 0


def each(count: int) -> dict[str, int]:
    return {"processed": count, "claimed": count, "indexed": count}


@pytest.fixture
async def bench(database, redis_url, queues) -> AsyncIterator[Bench]:
    # A killed worker's messages come back after 2 s in place of 20.
    specs = [replace(spec, visibility_timeout=timedelta(seconds=2), max_receives=20) for spec in QUEUES]
    prefix = f"test-{uuid4().hex[:12]}-"
    await create_queues(queues.endpoint_url, prefix=prefix, specs=specs)
    settings = {
        "DATABASE_URL": database.worker_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": json.dumps([MASTER_KEY]),
        "SQS_ENDPOINT_URL": queues.endpoint_url,
        "QUEUE_PREFIX": prefix,
        "EMBEDDING_PROVIDER": "lexical",
    }
    async with (
        open_database(database.app_url, pool_size=4, application="test") as opened,
        open_queues(endpoint_url=queues.endpoint_url, region=queues.region, prefix=prefix) as sqs,
    ):
        intake = EventIntake(opened, Metrics())
        yield Bench(intake, opened, sqs[QueueName.EVENTS], settings, database.superuser_url)


async def test_an_event_goes_from_its_webhook_to_the_notice_in_one_trace(bench, redis_url):
    async with (
        a_worker(bench.settings) as worker,
        open_redis(redis_url, command_timeout_s=2) as redis,
        aclosing(Notices(redis, Metrics()).listen()) as listener,
    ):
        assert await anext(listener) == Gap(listening=True)
        with spanned("webhook"):
            [event_id] = await bench.take_in_one(1)
            trace_id = carry()["traceparent"].split("-")[1]
        notice = await anext(listener)
        await worker.end(signal.SIGTERM)
    logged = [json.loads(line) for line in worker.lines]
    [handled] = [line for line in logged if line["event"] == "messages handled"]
    assert not isinstance(notice, Gap)
    assert notice.event_id == event_id
    assert notice.traceparent is not None
    assert notice.traceparent.split("-")[1] == trace_id
    assert (handled["trace_id"], handled["count"], handled["outcome"]) == (trace_id, 1, "ok")


async def test_a_worker_posts_events_to_the_endpoints_that_chose_them(bench, database):
    seal = SecretSeal(Keyring([SecretStr(MASTER_KEY)]))
    service = WebhookEndpointService(bench.database, seal, LOOPBACK)
    owner = Principal(
        id=new_id(), tenant_id=ORIGIN.tenant_id, kind=PrincipalKind.USER, name="owner", grants=("*",)
    )
    receiver = Answers(PlainTextResponse("ok"))
    settings = {**bench.settings, "PRIVATE_NETWORKS": '["127.0.0.0/8"]'}
    async with serve(receiver) as url, a_worker(settings):
        endpoint = await service.create(owner, EndpointDraft(name="receiver", url=url))
        await bench.take_in(3)
        delivered: Page[WebhookDelivery] = Page(items=())
        while len(delivered.items) < 3:
            await asyncio.sleep(0.05)
            delivered = await service.deliveries(
                owner, endpoint.id, status=DeliveryStatus.DELIVERED, order=NEWEST, limit=10
            )
    assert {json.loads(body)["type"] for body in receiver.bodies} == {"build.finished"}
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3


async def test_a_killed_worker_loses_nothing_and_repeats_no_effect(bench):
    """D01"""
    await bench.take_in(200)
    for target in (20, 100):
        async with a_worker(bench.settings) as worker:
            more = asyncio.create_task(_take_in_more(bench, 1_000 * target, 100))
            await bench.until_processed(target)
            assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
            await more
    async with a_worker(bench.settings):
        await bench.until_at_rest()
    assert await bench.effects() == each(400)


async def test_a_worker_that_is_killed_while_results_wait_indexes_each_of_them_once(bench):
    """D01"""
    for number in range(60):
        await _keep(bench.database, number)
    async with a_worker(bench.settings) as worker:
        while await bench._count("passages") < 100:
            await asyncio.sleep(0.02)
        assert await worker.end(signal.SIGKILL) == -signal.SIGKILL
    assert await bench._count("passages") < 60 * PARTS
    async with a_worker(bench.settings):
        await bench.until_at_rest()
        while await bench._count("passages") < 60 * PARTS:
            await asyncio.sleep(0.02)
    assert await bench._count("passages") == 60 * PARTS
    assert await bench._count("processed_messages WHERE consumer = 'indexing'") == 60


PARTS = 11


async def _keep(database: Database, number: int) -> None:
    """A result of `PARTS` passages."""
    kept = KeptResult(
        id=new_id(),
        tenant_id=ORIGIN.tenant_id,
        owner_id=new_id(),
        tool="fs_file_read",
        body=json.dumps([f"line {number} " + "x" * 1_100] * 10),
        created_at=utc_now(),
        expires_at=utc_now() + timedelta(hours=1),
    )
    await database.write(ORIGIN.tenant_id, lambda tx: tx.results.keep(kept, announced(kept, "fs")))


async def _take_in_more(bench: Bench, first: int, count: int) -> None:
    for number in range(first, first + count):
        await bench.take_in_one(number)


async def test_two_workers_share_the_work_and_one_may_die(bench):
    """D01"""
    async with a_worker(bench.settings) as one, a_worker(bench.settings):
        feeding = asyncio.create_task(bench.take_in(300))
        await bench.until_processed(50)
        await one.end(signal.SIGKILL)
        await feeding
        await bench.until_at_rest()
    assert await bench.effects() == each(300)


async def test_a_worker_that_is_told_to_stop_leaves_nothing_locked(bench):
    await bench.take_in(300)
    async with a_worker(bench.settings) as worker:
        await bench.until_processed(1)
        async with asyncio.timeout(60):
            code = await worker.end(signal.SIGTERM)
    assert code == 0
    assert (await bench.queue.depth()).in_flight == 0
    async with a_worker(bench.settings):
        await bench.until_at_rest()
    assert await bench.effects() == each(300)


async def test_connections_that_break_lose_nothing(bench, database, administration):
    """P02"""
    async with a_worker(bench.settings) as worker:
        feeding = asyncio.create_task(_take_in_more(bench, 0, 200))
        for target in (20, 60, 100):
            await bench.until_processed(target)
            administration.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'worker'",
                (database.name,),
            )
        await feeding
        await bench.until_at_rest()
        await worker.end(signal.SIGTERM)
    assert await bench.effects() == each(200)


async def test_without_redis_events_are_processed_and_health_says_degraded(bench):
    """R01"""
    settings = {**bench.settings, "REDIS_URL": "redis://127.0.0.1:1/0"}
    async with a_worker(settings) as worker, httpx2.AsyncClient(timeout=60) as client:
        await bench.take_in(5)
        await bench.until_processed(5)
        ready = await client.get(f"http://127.0.0.1:{worker.port}/health/ready")
        metrics = await client.get(f"http://127.0.0.1:{worker.port}/metrics")
    checks = ready.json()["checks"]
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert {name: check["status"] for name, check in checks.items()} == {
        "database": "ok",
        "queue": "ok",
        "redis": "down",
        "embedding": "ok",
        "blobs": "ok",
    }
    assert 'devops_mcp_notices_total{outcome="unpublished"} 5.0' in metrics.text
    assert 'devops_mcp_queue_messages_total{outcome="done",queue="events"} 5.0' in metrics.text

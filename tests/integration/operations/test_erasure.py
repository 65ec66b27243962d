"""A tenant erased by the worker, over PostgreSQL and an S3: nothing of it is left, nothing of others is gone, and the proof is exact."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import ErasureRequested, EventReceived, ResultKept
from devops_mcp.events.model import AlertEvent
from devops_mcp.models.contexts import NewItem
from devops_mcp.models.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, OPERATOR_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.results import KeptResult
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.blobs import BlobStore, Upload
from devops_mcp.operations.context_copies import ContextCopyService
from devops_mcp.operations.contexts import ContextService
from devops_mcp.operations.erasure import Eraser, ErasureService
from devops_mcp.operations.events import EventProcessor
from devops_mcp.operations.result_indexing import ResultIndexer
from devops_mcp.outbound.objects import open_objects
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.events import Acceptance
from support.s3 import BUCKET, keys_in, running_s3
from support.services import new_key
from support.tenants import add_tenant

TENANT = UUID("00000000-0000-7000-8000-000000000007")
NEIGHBOUR = UUID("00000000-0000-7000-8000-000000000008")
STAYS = {"tenants", "audit_log", "audit_chains", "audit_waiting", "erasures"}
OPERATOR = Principal(
    id=new_id(), tenant_id=OPERATOR_TENANT_ID, kind=PrincipalKind.USER, name="operator", grants=("*",)
)
MEMBER = OPERATOR.model_copy(update={"id": new_id(), "grants": ("tenant:*",)})
GONE = OPERATOR.model_copy(update={"id": new_id()})


def rows(database, tenant_id: UUID) -> dict[str, int]:
    """How many rows the tenant has, by table; of those that it has any in."""
    with psycopg.connect(database.superuser_url) as connection:
        tables = connection.execute(
            """
            SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id'
            """
        ).fetchall()
        counts = {}
        for (name,) in tables:
            query = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(sql.Identifier(name))
            row = connection.execute(query, (tenant_id,)).fetchone()
            counts[name] = row[0] if row else 0
    return {name: count for name, count in counts.items() if count}


@dataclass
class Bench:
    """The services of one that answers, and the worker's side."""

    app: Database
    worker: Database
    service: ErasureService
    eraser: Eraser
    s3: str

    async def ordered(self) -> ErasureRequested:
        erasure = await self.service.request(OPERATOR, TENANT, str(TENANT))
        return ErasureRequested(id=erasure.id, tenant_id=TENANT)


@asynccontextmanager
async def a_bench(database, redis_url) -> AsyncIterator[Bench]:
    with running_s3() as s3:
        async with (
            open_database(database.app_url, pool_size=2, application="app") as app,
            open_database(database.worker_url, pool_size=4, application="worker") as worker,
            open_objects(BUCKET, region="us-east-1", endpoint_url=s3) as objects,
            open_redis(redis_url, command_timeout_s=2) as redis,
        ):
            blobs = BlobStore(worker, objects)
            for tenant_id in (TENANT, NEIGHBOUR):
                add_tenant(database, tenant_id, str(tenant_id))
                await new_key(database.owner_url, tenant_id=tenant_id)
                await fill(worker, blobs, tenant_id, Notices(redis, Metrics()))
            yield Bench(app, worker, ErasureService(app), Eraser(worker, blobs), s3)


async def fill(database: Database, blobs: BlobStore, tenant_id: UUID, notices: Notices) -> None:
    """A context with everything that one can have, and an event with what comes of it."""
    me = Principal(id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.AGENT, name="me", grants=("*",))
    contexts = ContextService(database, embeds=True, blobs=blobs)
    context = await contexts.create(me, "everything")
    await contexts.append(me, context.id, [NewItem(text="short"), NewItem(text="a long line\n" * 5_000)])
    await contexts.attach(me, context.id, Upload("a.bin", "application/x-a", b"\x00\x01"))
    copies = ContextCopyService(database, contexts, blobs, embeds=True)
    await copies.snapshot(me, context.id, "now")
    await copies.fork(me, context.id)
    event = AlertEvent(
        id=new_id(), tenant_id=tenant_id, system="ci", source="ci-prod", subject="acme/shop", title="an alert",
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC), type="alert.fired", name="Down", fingerprint="f",
    )  # fmt: skip
    async with database.transaction(tenant_id) as tx:
        await tx.events.accept(Acceptance.of([event], [f"id:{event.id}"], b"{}"))
    message = EventReceived(id=new_id(), tenant_id=tenant_id, event_id=event.id)
    await EventProcessor(database, notices, embeds=True).process(tenant_id, [message])


@pytest.fixture
async def bench(database, redis_url) -> AsyncIterator[Bench]:
    for who in (OPERATOR, MEMBER):
        await new_key(database.owner_url, *who.grants, id=who.id, tenant_id=OPERATOR_TENANT_ID)
    async with a_bench(database, redis_url) as opened:
        yield opened


async def test_nothing_is_left_and_the_proof_counts_what_there_was(bench, database):
    before, neighbour = rows(database, TENANT), rows(database, NEIGHBOUR)
    assert {"contexts", "context_items", "passages", "events", "facts", "api_keys", "blobs"} <= before.keys()
    assert len(keys_in(bench.s3)) == 4
    message = await bench.ordered()
    assert await bench.eraser.process(TENANT, [message]) == {message.id}
    [erasure] = (await bench.service.page(OPERATOR, TENANT)).items
    assert rows(database, TENANT).keys() <= STAYS
    assert rows(database, NEIGHBOUR) == neighbour
    assert {key.partition("/")[0] for key in keys_in(bench.s3)} == {str(NEIGHBOUR)}
    assert erasure.finished_at is not None
    expected = {name: count for name, count in before.items() if name not in STAYS}
    assert erasure.removed == expected | {"outbox": expected["outbox"] + 1}, "and the order's own message"


async def test_a_result_that_was_kept_before_the_erasure_does_not_come_back_with_its_message(bench, database):
    kept = KeptResult(
        id=new_id(),
        tenant_id=TENANT,
        owner_id=new_id(),
        tool="fs_file_read",
        body='{"disk": "node-7 is full"}',
        created_at=datetime.now(UTC),
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    first, second = (
        ResultKept(id=new_id(), tenant_id=TENANT, result_id=kept.id, system="fs") for _ in range(2)
    )
    await bench.app.write(TENANT, lambda tx: tx.results.keep(kept))
    indexer = ResultIndexer(bench.worker, embeds=True)
    assert await indexer.process(TENANT, [first]) == {first.id}
    await bench.eraser.process(TENANT, [await bench.ordered()])
    assert await indexer.process(TENANT, [first, second]) == set()
    assert rows(database, TENANT).keys() <= STAYS


async def test_the_worker_begins_once_those_are_out_who_were_let_in_before(bench, database):
    erasure = await bench.service.request(OPERATOR, TENANT, str(TENANT))
    with psycopg.connect(database.superuser_url) as connection:
        order = "SELECT due_at >= %s FROM outbox WHERE id = %s"
        due = connection.execute(order, (erasure.requested_at + timedelta(seconds=50), erasure.id)).fetchone()
    assert due == (True,)


async def test_the_proof_is_in_the_tenants_log_and_in_the_operators(bench, database):
    await bench.eraser.process(TENANT, [await bench.ordered()])
    with psycopg.connect(database.superuser_url) as connection:
        proofs = connection.execute(
            "SELECT tenant_id, target, arguments FROM audit_log WHERE action = 'tenants.erase.done'"
        ).fetchall()
    assert {row[0] for row in proofs} == {TENANT, OPERATOR_TENANT_ID}
    assert {row[1] for row in proofs} == {f"tenant:{TENANT}"}
    assert all("context_items 6" in row[2]["removed"] for row in proofs)


async def test_a_worker_that_dies_leaves_the_rest_to_the_next_delivery_and_counts_nothing_twice(
    bench, database
):
    """D01"""
    before = rows(database, TENANT)
    message = await bench.ordered()
    for _ in range(3):
        await bench.eraser._rows(TENANT, message.id)  # three steps, and then it dies
    await asyncio.gather(*(bench.eraser.process(TENANT, [message]) for _ in range(2)))
    [erasure] = (await bench.service.page(OPERATOR, TENANT)).items
    assert erasure.removed["context_items"] == before["context_items"]
    assert sum(erasure.removed.values()) == sum(n for name, n in before.items() if name not in STAYS) + 1
    assert await bench.eraser.process(TENANT, [message]) == set()


async def test_only_an_erasure_that_was_ordered_removes_anything(bench, database):
    before = rows(database, NEIGHBOUR)
    stray = ErasureRequested(id=new_id(), tenant_id=NEIGHBOUR)
    assert await bench.eraser.process(NEIGHBOUR, [stray]) == set()
    with pytest.raises(psycopg.Error):
        async with bench.worker.transaction(NEIGHBOUR) as tx:
            await tx.erasures.erase_some(10)
    assert rows(database, NEIGHBOUR) == before


async def test_who_may_not_and_what_is_not_confirmed_is_refused(bench):
    for principal, tenant_id, confirm, error in (
        (MEMBER, TENANT, str(TENANT), Forbidden),
        (GONE, TENANT, str(TENANT), Unauthenticated),
        (OPERATOR, TENANT, "another", InvalidInput),
        (OPERATOR, new_id(), "x", NotFound),
        (OPERATOR, DEFAULT_TENANT_ID, "default", Conflict),
    ):
        with pytest.raises(error):
            await bench.service.request(principal, tenant_id, confirm)

"""Replays of stored events, against PostgreSQL: to an endpoint and to our own processing (cases D01, D02, L05)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.events.messages import MESSAGE, ReplayDue
from devops_mcp.models.errors import Conflict, Forbidden, InvalidInput, NotFound
from devops_mcp.models.event_queries import EventsWanted
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.replays import Replay, ReplayConsumer, ReplayDraft, ReplayStatus
from devops_mcp.models.webhooks import DeliveryStatus, EndpointDraft
from devops_mcp.operations import event_replays
from devops_mcp.operations.event_replays import Replayer, ReplayService
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService
from devops_mcp.operations.webhook_sending import body_of
from devops_mcp.repositories.database import Database, open_database
from support.happenings import happen
from support.servers import LOOPBACK
from support.services import new_key

TENANT = DEFAULT_TENANT_ID
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
EVERYTHING = EventsWanted(since=LONG_AGO)
PROCESSING = ReplayDraft(events=EVERYTHING, consumer=ReplayConsumer.PROCESSING)


@dataclass
class Bench:
    """The operations, and what relay and queue would bring the worker."""

    owner: Principal
    service: ReplayService
    replayer: Replayer
    endpoints: WebhookEndpointService
    worker: Database
    superuser_url: str

    async def rows(self, query: str) -> list[tuple]:
        async with await psycopg.AsyncConnection.connect(self.superuser_url) as connection:
            return await (await connection.execute(query)).fetchall()  # type: ignore[arg-type]

    async def due(self) -> list[ReplayDue]:
        """What waits for the replayer now; taken out of the outbox."""
        taken = await self.rows(
            "DELETE FROM outbox WHERE queue = 'tasks-low' AND due_at <= clock_timestamp() RETURNING message"
        )
        read = [MESSAGE.validate_json(row[0]) for row in taken]
        return [message for message in read if isinstance(message, ReplayDue)]

    async def drain(self) -> int:
        """Let the worker do what is due until nothing is; how many messages there were."""
        count = 0
        while due := await self.due():
            count += len(await self.replayer.process(TENANT, due))
        return count

    async def state(self, replay: Replay) -> Replay:
        return await self.service.get(self.owner, replay.id)

    async def endpoint(self, **changes) -> UUID:
        draft = EndpointDraft(name="receiver", url="http://127.0.0.1:9/", filter=None, **changes)
        return (await self.endpoints.create(self.owner, draft)).id

    async def delivered(self, replay: Replay) -> list[UUID]:
        """The events of the replay's deliveries, in the order in which their messages go out."""
        found = await self.rows(
            f"""
            SELECT d.event_id FROM outbox AS o JOIN webhook_deliveries AS d ON d.id = (o.message::jsonb ->> 'delivery_id')::uuid
            WHERE d.replay_id = '{replay.id}' ORDER BY o.due_at, o.id
            """
        )
        return [row[0] for row in found]


@pytest.fixture
async def bench(database) -> AsyncIterator[Bench]:
    async with (
        open_database(database.app_url, pool_size=2, application="test") as app,
        open_database(database.worker_url, pool_size=4, application="test") as worker,
    ):
        owner = await a_principal(database, worker)
        yield Bench(
            owner,
            ReplayService(app),
            Replayer(worker, embeds=False),
            WebhookEndpointService(app, SecretSeal(Keyring([SecretStr("k" * 32)])), LOOPBACK),
            worker,
            database.superuser_url,
        )


async def a_principal(database, worker: Database) -> Principal:
    """The holder of a key, whom the worker finds again."""
    key_id = new_id()
    await new_key(database.owner_url, id=key_id)
    async with worker.transaction(TENANT) as tx:
        found = await tx.principals.find(key_id, datetime.now(UTC))
    assert found is not None
    return found


async def test_an_endpoint_gets_the_events_of_the_range_anew_in_their_order_and_marked(
    bench, database, redis_url, monkeypatch
):
    monkeypatch.setattr(event_replays, "CHUNK", 2)
    endpoint = await bench.endpoint()
    before = await happen(database.worker_url, redis_url, 1)
    events = await happen(database.worker_url, redis_url, 2, 3, 4, 5, 6)
    since = datetime.fromtimestamp((events[0].int >> 80) / 1_000, UTC)
    wanted = EventsWanted(since=since, source="ci-prod", type="build.*")
    draft = ReplayDraft(events=wanted, consumer=ReplayConsumer.WEBHOOK, endpoint_id=endpoint)
    first = await bench.service.start(bench.owner, draft)
    assert (first.status, first.total, first.done) == (ReplayStatus.RUNNING, 5, 0)
    await bench.drain()
    second = await bench.service.start(bench.owner, draft)
    await bench.drain()
    for replay in (first, second):
        assert await bench.delivered(replay) == events
        ended = await bench.state(replay)
        assert (ended.status, ended.done) == (ReplayStatus.COMPLETED, 5)
    assert before[0] not in events
    listed = await bench.endpoints.deliveries(
        bench.owner, endpoint, status=DeliveryStatus.PENDING, order=NEWEST, limit=100
    )
    assert {delivery.replay_id for delivery in listed.items} == {first.id, second.id}
    async with bench.worker.transaction(TENANT) as tx:
        [stored] = await tx.events.find([events[0]])
    assert f'"replay_id":"{first.id}"'.encode() in body_of(stored.event, first.id)
    assert b"replay_id" not in body_of(stored.event)


async def test_processing_makes_anew_what_is_missing_or_outdated_and_sets_nothing_going(
    bench, database, redis_url
):
    events = await happen(database.worker_url, redis_url, 1, 2, 3)
    await bench.endpoint()
    passages = "SELECT source_id, title, text FROM passages ORDER BY source_id, part"
    facts = "SELECT event_id, subject, predicate, value::text FROM facts ORDER BY event_id, predicate"
    times = "SELECT processed_at FROM events ORDER BY id"
    expected = [await bench.rows(query) for query in (passages, facts, times)]
    untouched = await bench.rows(f"SELECT id FROM passages WHERE source_id = '{events[2]}'")
    async with await psycopg.AsyncConnection.connect(bench.superuser_url) as connection:
        await connection.execute("DELETE FROM facts")
        await connection.execute("DELETE FROM passages WHERE source_id = %s", (events[0],))
        await connection.execute(
            "UPDATE passages SET text = 'of an older version' WHERE source_id = %s", (events[1],)
        )
    replay = await bench.service.start(bench.owner, PROCESSING)
    await bench.drain()
    assert [await bench.rows(query) for query in (passages, facts, times)] == expected
    assert await bench.rows(f"SELECT id FROM passages WHERE source_id = '{events[2]}'") == untouched
    assert (await bench.state(replay)).status is ReplayStatus.COMPLETED
    assert await bench.rows("SELECT count(*) FROM webhook_deliveries") == [(0,)]


async def test_a_message_that_comes_twice_or_to_two_workers_hands_each_event_on_once(
    bench, database, redis_url, monkeypatch
):
    """D02, D03: what is done and how far it is are one transaction."""
    monkeypatch.setattr(event_replays, "CHUNK", 2)
    events = await happen(database.worker_url, redis_url, 1, 2, 3, 4, 5)
    draft = ReplayDraft(
        events=EVERYTHING, consumer=ReplayConsumer.WEBHOOK, endpoint_id=await bench.endpoint()
    )
    replay = await bench.service.start(bench.owner, draft)
    seen = []
    while due := await bench.due():
        seen += due
        handled = await asyncio.gather(*(bench.replayer.process(TENANT, due) for _ in range(3)))
        assert sorted(len(ids) for ids in handled) == [0, 0, 1]
    assert await bench.replayer.process(TENANT, seen) == set()
    assert await bench.delivered(replay) == events
    assert (await bench.state(replay)).done == 5


async def test_a_chunk_that_fails_leaves_nothing_and_is_done_by_the_next_attempt(
    bench, database, redis_url, monkeypatch
):
    """D01: the effect, the position and the next message are written together or not at all."""
    events = await happen(database.worker_url, redis_url, 1, 2)
    draft = ReplayDraft(
        events=EVERYTHING, consumer=ReplayConsumer.WEBHOOK, endpoint_id=await bench.endpoint()
    )
    replay = await bench.service.start(bench.owner, draft)
    due = await bench.due()
    with monkeypatch.context() as broken:
        broken.setattr(event_replays, "deed_of_ours", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await bench.replayer.process(TENANT, due)
    assert await bench.rows("SELECT count(*) FROM webhook_deliveries") == [(0,)]
    assert (await bench.state(replay)).done == 0
    await bench.replayer.process(TENANT, due)
    assert await bench.delivered(replay) == events


async def test_a_replay_waits_while_many_of_its_deliveries_are_on_their_way(
    bench, database, redis_url, monkeypatch
):
    monkeypatch.setattr(event_replays, "CHUNK", 2)
    monkeypatch.setattr(event_replays, "MAX_PENDING", 2)
    await happen(database.worker_url, redis_url, 1, 2, 3)
    draft = ReplayDraft(
        events=EVERYTHING, consumer=ReplayConsumer.WEBHOOK, endpoint_id=await bench.endpoint()
    )
    replay = await bench.service.start(bench.owner, draft)
    assert await bench.drain() == 2
    assert (await bench.state(replay)).done == 2
    async with await psycopg.AsyncConnection.connect(bench.superuser_url) as connection:
        await connection.execute("UPDATE webhook_deliveries SET status = 'delivered'")
        await connection.execute("UPDATE outbox SET due_at = now() WHERE queue = 'tasks-low'")
    await bench.drain()
    assert (await bench.state(replay)).status is ReplayStatus.COMPLETED


GONE = {
    "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'a test'": "the endpoint is disabled: a test",
    "DELETE FROM webhook_endpoints": "the endpoint was deleted",
    "UPDATE api_keys SET revoked_at = now()": "who asked for this may no longer",
}


async def test_a_replay_ends_when_what_it_rests_on_is_gone(bench, database, redis_url):
    await happen(database.worker_url, redis_url, 1)
    for gone, error in GONE.items():
        endpoint = await bench.endpoint()
        draft = ReplayDraft(events=EVERYTHING, consumer=ReplayConsumer.WEBHOOK, endpoint_id=endpoint)
        replay = await bench.service.start(bench.owner, draft)
        async with await psycopg.AsyncConnection.connect(bench.superuser_url) as connection:
            await connection.execute(gone)
        await bench.drain()
        ended = await bench.state(replay)
        assert (ended.status, ended.done, ended.error) == (ReplayStatus.FAILED, 0, error)
    assert await bench.rows("SELECT count(*) FROM webhook_deliveries") == [(0,)]


async def test_what_cannot_be_replayed_is_refused(bench, database, redis_url, monkeypatch):
    monkeypatch.setattr(event_replays, "MAX_EVENTS", 2)
    absent = ReplayDraft(events=EVERYTHING, consumer=ReplayConsumer.WEBHOOK, endpoint_id=new_id())
    disabled = replace_endpoint(absent, await bench.endpoint(enabled=False))
    with pytest.raises(NotFound):
        await bench.service.start(bench.owner, absent)
    with pytest.raises(Conflict):
        await bench.service.start(bench.owner, disabled)
    await happen(database.worker_url, redis_url, 1, 2)
    running = await bench.service.start(bench.owner, PROCESSING)
    with pytest.raises(Conflict):
        await bench.service.start(bench.owner, PROCESSING)
    assert (await bench.service.cancel(bench.owner, running.id)).status is ReplayStatus.CANCELLED
    await bench.drain()
    assert (await bench.state(running)).done == 0
    await happen(database.worker_url, redis_url, 3)
    with pytest.raises(InvalidInput):
        await bench.service.start(bench.owner, PROCESSING)
    weak = replace_principal(bench.owner, ("events:read", "events:replay"))
    with pytest.raises(Forbidden):
        await bench.service.start(weak, absent)
    actions = await bench.rows("SELECT action, outcome FROM audit_log ORDER BY id")
    assert actions[-3:] == [
        ("events.replay", "ok"),
        ("events.replay.cancel", "ok"),
        ("webhooks.write", "denied"),
    ]


def replace_endpoint(draft: ReplayDraft, endpoint_id: UUID) -> ReplayDraft:
    return draft.model_copy(update={"endpoint_id": endpoint_id})


def replace_principal(principal: Principal, grants: tuple[str, ...]) -> Principal:
    return Principal(id=principal.id, tenant_id=TENANT, kind=PrincipalKind.AGENT, name="weak", grants=grants)

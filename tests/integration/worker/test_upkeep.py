"""The worker's recurring jobs, against PostgreSQL."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.embedded.roles import OWNER
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.events.messages import EventReceived
from devops_mcp.events.model import ActivityRecorded
from devops_mcp.models.agents import Heartbeat, NewAgent
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import utc_now
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.errors import DeadlineExceeded, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, first_id_at, new_id
from devops_mcp.models.pages import NEWEST
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.results import KeptResult
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.agents import AgentService
from devops_mcp.operations.audit_log import AuditReader
from devops_mcp.operations.embeddings import EmbeddingService
from devops_mcp.operations.events import EventProcessor
from devops_mcp.operations.quota_keeper import QuotaKeeper
from devops_mcp.repositories.database import open_database
from devops_mcp.repositories.events import Acceptance
from devops_mcp.repositories.idempotency import CallKey
from devops_mcp.repositories.processed import ProcessedMessages
from support.services import new_key
from support.tenants import add_tenant
from worker import upkeep
from worker.upkeep import (
    CALLS_KEPT,
    DEAD_LETTERS_KEPT,
    KEYS_KEPT,
    REMEMBERED,
    REPLAYS_KEPT,
    Retention,
    Upkeep,
)

KEYS = Keyring([SecretStr("a master key for the tests, and nothing else")])
ANOTHER = UUID("00000000-0000-7000-8000-000000000002")


def a_result(tenant_id: UUID, lifetime: timedelta) -> KeptResult:
    now = utc_now()
    return KeptResult(
        id=new_id(),
        tenant_id=tenant_id,
        owner_id=new_id(),
        tool="t_t",
        body="{}",
        created_at=now,
        expires_at=now + lifetime,
    )


async def test_what_has_expired_is_removed_for_every_tenant_and_nothing_else(database):
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'another')", (ANOTHER,))
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            for tenant_id in (DEFAULT_TENANT_ID, ANOTHER):
                async with opened.transaction(tenant_id) as tx:
                    await tx.results.keep(a_result(tenant_id, timedelta(hours=-1)))
                    await tx.results.keep(a_result(tenant_id, timedelta(hours=1)))
                    await tx.processed.claim("events", [new_id()])
            await Upkeep(opened, KEYS).remove_expired()
            kept = connection.execute("SELECT tenant_id FROM kept_results ORDER BY 1").fetchall()
            recent = connection.execute("SELECT count(*) FROM processed_messages").fetchone()
            later = utc_now() + REMEMBERED + timedelta(minutes=1)
            await Upkeep(opened, KEYS, now=lambda: later).remove_expired()
        left = connection.execute("SELECT count(*) FROM processed_messages").fetchone()
    assert kept == [(DEFAULT_TENANT_ID,), (ANOTHER,)]
    assert (recent, left) == ((2,), (0,))


async def test_dead_letters_are_kept_for_two_weeks(database):
    now = utc_now()
    ages = (DEAD_LETTERS_KEPT - timedelta(hours=1), DEAD_LETTERS_KEPT + timedelta(hours=1))
    letters = [
        DeadLetter(
            id=new_id(),
            queue="events",
            message_id=str(age),
            type=None,
            body="x",
            reason="x",
            attempts=1,
            trace=None,
            died_at=now - age,
        )
        for age in ages
    ]
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            await tx.dead_letters.add(letters)
        await Upkeep(opened, KEYS, now=lambda: now).remove_expired()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            left = await tx.dead_letters.page(None, NEWEST, 10)
    assert [letter.id for letter in left] == [letters[0].id]


async def test_partitions_that_are_missing_are_created(database):
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        newest = (
            "SELECT max(relname) FROM pg_class WHERE relname ~ '^events_[0-9]{4}_[0-9]{2}$' AND relkind = 'r'"
        )
        [before] = connection.execute(newest).fetchone()
        connection.execute(f"DROP TABLE {before}")
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            await Upkeep(opened, KEYS).create_partitions()
            await Upkeep(opened, KEYS).create_partitions()
        assert connection.execute(newest).fetchone() == (before,)


async def test_a_partition_is_not_waited_for_longer_than_others_can_bear(database):
    """Everybody queues up behind who waits to create one, and that one behind who reads."""
    with (
        psycopg.connect(database.superuser_url, autocommit=True) as connection,
        psycopg.connect(database.superuser_url) as reading,
    ):
        [newest] = connection.execute(
            "SELECT max(relname) FROM pg_class WHERE relname ~ '^events_[0-9]{4}_[0-9]{2}$'"
        ).fetchone()
        connection.execute(f"DROP TABLE {newest}")
        reading.execute("SELECT FROM events LIMIT 1")
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            with pytest.raises(Unavailable, match="in use"):
                await Upkeep(opened, KEYS).create_partitions()
            reading.rollback()
            await Upkeep(opened, KEYS).create_partitions()
        assert connection.execute("SELECT to_regclass(%s)", (newest,)).fetchone() == (newest,)


OLD = datetime(2022, 3, 10, tzinfo=UTC)


def an_old_month(connection: psycopg.Connection) -> None:
    """The partitions of `OLD`, as if they had been created then."""
    for table in ("events", "audit_log"):
        connection.execute(
            f"CREATE TABLE {table}_2022_03 PARTITION OF {table} FOR VALUES FROM (uuid_floor('2022-03-01 00:00:00+00'))"
            " TO (uuid_floor('2022-04-01 00:00:00+00'))"
        )
        connection.execute(f"ALTER TABLE {table}_2022_03 OWNER TO {OWNER}")


def id_at(moment: datetime) -> UUID:
    return UUID(int=first_id_at(moment).int | new_id().int % 2**76)


def an_event(moment: datetime) -> ActivityRecorded:
    return ActivityRecorded(
        id=id_at(moment),
        tenant_id=DEFAULT_TENANT_ID,
        system="github",
        source="github",
        subject="acme/shop",
        title="somebody starred it",
        occurred_at=moment,
        vendor_type="star",
    )


def a_record(moment: datetime) -> AuditRecord:
    return AuditRecord(
        id=id_at(moment),
        tenant_id=DEFAULT_TENANT_ID,
        actor_id=ANOTHER,
        actor="somebody",
        action="tool.read",
        target="x",
        outcome="ok",
        duration_ms=1.0,
        at=moment,
    )


async def test_months_that_are_older_than_they_are_kept_go_with_what_was_made_of_them(database, redis_url):
    old, young = an_event(OLD), an_event(utc_now())
    reader = Principal(
        id=ANOTHER, tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.USER, name="reader", grants=("*",)
    )
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        an_old_month(connection)
        async with open_database(database.worker_url, pool_size=3, application="test") as opened:
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                for event in (old, young):
                    await tx.events.accept(Acceptance.of([event], [f"id:{event.id}"], b"{}"))
                await tx.audit.append([a_record(OLD), a_record(OLD)])
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.audit.append([a_record(utc_now())])
            messages = [
                EventReceived(id=new_id(), tenant_id=DEFAULT_TENANT_ID, event_id=e.id) for e in (old, young)
            ]
            async with open_redis(redis_url, command_timeout_s=1) as redis:
                await EventProcessor(opened, Notices(redis, Metrics()), embeds=False).process(
                    DEFAULT_TENANT_ID, messages
                )
            await Upkeep(opened, KEYS).drop_history()
            await Upkeep(opened, KEYS).drop_history()
            verified = await AuditReader(opened).verify(reader)
            with pytest.raises(psycopg.errors.RaiseException, match="kept for"):
                await opened.drop_months("audit_log", utc_now())
        events = connection.execute("SELECT id FROM events").fetchall()
        passages = connection.execute("SELECT source_id FROM passages").fetchall()
        records = connection.execute("SELECT count(*) FROM audit_log").fetchone()
    assert events == passages == [(young.id,)]
    assert records == (1,)
    assert (verified.intact, verified.records) == (True, 1)


async def test_a_tenant_that_wants_its_events_kept_less_long_loses_the_older_ones_and_nobody_else(database):
    add_tenant(database, ANOTHER)
    of_both = [
        an_event(moment).model_copy(update={"tenant_id": tenant_id, "id": id_at(moment)})
        for tenant_id in (DEFAULT_TENANT_ID, ANOTHER)
        for moment in (OLD, utc_now())
    ]
    for_ever = Retention(events=timedelta(days=36_500), audit=timedelta(days=36_500))
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        an_old_month(connection)
        connection.execute("INSERT INTO tenant_retention (tenant_id, event_days) VALUES (%s, 31)", (ANOTHER,))
        async with open_database(database.worker_url, pool_size=3, application="test") as opened:
            for event in of_both:
                async with opened.transaction(event.tenant_id) as tx:
                    await tx.events.accept(Acceptance.of([event], [f"id:{event.id}"], b"{}"))
            await Upkeep(opened, KEYS, retention=for_ever).drop_history()
            async with opened.transaction(ANOTHER) as tx:
                with pytest.raises(psycopg.errors.RaiseException, match="kept for"):
                    await tx.events.forget(utc_now(), 10)
        left = connection.execute("SELECT tenant_id, id FROM events ORDER BY tenant_id, id").fetchall()
    assert left == [(event.tenant_id, event.id) for event in of_both if event is not of_both[2]]


async def test_keys_of_deliveries_and_calls_are_forgotten_in_time(database):
    key = CallKey(ANOTHER, "tool", "once")
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            async with opened.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.events.accept(Acceptance.of([an_event(utc_now())], ["id:1"], b"{}"))
                await tx.idempotent_calls.begin(key, b"x", utc_now(), utc_now())
            await Upkeep(opened, KEYS).remove_expired()
            kept = counts(connection)
            for age in (CALLS_KEPT, KEYS_KEPT):
                later = utc_now() + age + timedelta(minutes=1)
                await Upkeep(opened, KEYS, now=lambda later=later: later).remove_expired()
                kept += counts(connection)
    assert kept == [(1, 1), (1, 0), (0, 0)]


def counts(connection: psycopg.Connection) -> list[tuple[int, ...]]:
    return connection.execute(
        "SELECT (SELECT count(*) FROM delivery_keys), (SELECT count(*) FROM idempotent_calls)"
    ).fetchall()


async def test_ended_replays_and_pollers_that_look_no_more_are_forgotten_after_a_while(database):
    now = utc_now()
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        for age in (timedelta(days=1), REPLAYS_KEPT + timedelta(days=1)):
            connection.execute(
                """
                INSERT INTO event_replays (tenant_id, id, requested_by, events, consumer, status, total, finished_at)
                VALUES (%(tenant)s, %(id)s, %(id)s, '{}', 'processing', 'completed', 1, %(at)s)
                """,
                {"tenant": DEFAULT_TENANT_ID, "id": new_id(), "at": now - age},
            )
            connection.execute(
                "INSERT INTO pollers (tenant_id, integration, poller, place, begun_at) VALUES (%s, %s, 'alerts', '', %s)",
                (DEFAULT_TENANT_ID, f"of-{age.days}-days", now - age),
            )
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            await Upkeep(opened, KEYS).remove_expired()
        pollers = connection.execute("SELECT integration FROM pollers").fetchall()
        replays = connection.execute("SELECT count(*) FROM event_replays").fetchone()
    assert (pollers, replays) == ([("of-1-days",)], (1,))


async def test_codes_and_clients_that_came_to_nothing_are_forgotten_in_time(database):
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO oauth_clients (tenant_id, id, source, name, redirect_uris, created_at, used_at)
            SELECT %(tenant)s, name, 'registered', name, '{}', now() - age, CASE WHEN name = 'used' THEN now() END
            FROM (VALUES ('old', interval '8 days'), ('used', interval '8 days'), ('new', interval '6 days')) AS v (name, age)
            """,
            {"tenant": DEFAULT_TENANT_ID},
        )
        connection.execute(
            """
            INSERT INTO device_codes (tenant_id, code_hash, user_code_hash, client_id, client_name, audience, scopes, expires_at,
                interval_s)
            SELECT %(tenant)s, name::bytea, name::bytea, name, name, '', '{}', now() - age, 5
            FROM (VALUES ('old', interval '25 hours'), ('new', interval '23 hours')) AS v (name, age)
            """,
            {"tenant": DEFAULT_TENANT_ID},
        )
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            await Upkeep(opened, KEYS).remove_expired()
        clients = connection.execute("SELECT id FROM oauth_clients ORDER BY 1").fetchall()
        devices = connection.execute("SELECT client_id FROM device_codes").fetchall()
    assert (clients, devices) == ([("new",), ("used",)], [("new",)])


async def test_an_agent_that_is_lost_is_told_of_once_and_again_when_it_was_back(database):
    agent = Principal(
        id=new_id(), tenant_id=DEFAULT_TENANT_ID, kind=PrincipalKind.AGENT, name="x", grants=("*",)
    )
    await new_key(database.owner_url, id=agent.id)
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        async with (
            open_database(database.app_url, pool_size=2, application="test") as app,
            open_database(database.worker_url, pool_size=2, application="test") as opened,
        ):
            embeddings = EmbeddingService(app, EmbeddingModels(), QuotaKeeper(app, Redis()))
            agents, upkeep = AgentService(app, embeddings), Upkeep(opened, KEYS)
            await agents.register(agent, NewAgent(name="fixer", capabilities=("helm",)))
            await upkeep.tell_lost_agents()
            for _ in range(2):
                await agents.heartbeat(agent, agent.id, Heartbeat())
                await agents.heartbeat(agent, agent.id, Heartbeat())
                await upkeep.tell_lost_agents()
                connection.execute("UPDATE agents SET seen_at = seen_at - interval '31 s'")
                await upkeep.tell_lost_agents()
                await upkeep.tell_lost_agents()
        told = connection.execute("SELECT type, subject FROM events ORDER BY id").fetchall()
        queued = connection.execute("SELECT count(*) FROM outbox").fetchone()
    types = ["agent.registered", "agent.lost", "agent.returned", "agent.lost"]
    assert told == [(type_, "fixer") for type_ in types]
    assert queued == (4,)


async def test_more_than_one_statement_takes_is_removed_in_several(database, monkeypatch):
    monkeypatch.setattr(upkeep, "_LARGE_CHUNK", 2)
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            for _ in range(5):
                await tx.results.keep(a_result(DEFAULT_TENANT_ID, timedelta(hours=-1)))
            assert await tx.results.drop_expired(utc_now(), 2) == 2
        await Upkeep(opened, KEYS).remove_expired()
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept_results").fetchone() == (0,)


async def test_what_fails_for_one_tenant_is_done_for_the_others(database, monkeypatch):
    add_tenant(database, ANOTHER)
    forget = ProcessedMessages.forget

    async def failing(self, before, limit):
        if await _tenant(self) == DEFAULT_TENANT_ID:
            raise DeadlineExceeded("the database took longer than 5 s for one statement")
        return await forget(self, before, limit)

    async def _tenant(repository):
        cursor = await repository._connection.execute("SELECT current_tenant()")
        return (await cursor.fetchone())[0]

    monkeypatch.setattr(ProcessedMessages, "forget", failing)
    later = utc_now() + REMEMBERED + timedelta(minutes=1)
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        for tenant_id in (DEFAULT_TENANT_ID, ANOTHER):
            async with opened.transaction(tenant_id) as tx:
                await tx.processed.claim("events", [new_id()])
        with pytest.raises(DeadlineExceeded):
            await Upkeep(opened, KEYS, now=lambda: later).remove_expired()
    with psycopg.connect(database.superuser_url) as connection:
        left = connection.execute("SELECT tenant_id FROM processed_messages").fetchall()
    assert left == [(DEFAULT_TENANT_ID,)]


async def test_a_job_that_is_at_fault_does_not_end_the_others(database, monkeypatch):
    stop, done = asyncio.Event(), asyncio.Event()

    async def at_fault(self):
        await done.wait()
        stop.set()
        raise ValueError("a fault of ours")

    async def does_its_work(self):
        done.set()

    monkeypatch.setattr(Upkeep, "remove_expired", at_fault)
    monkeypatch.setattr(Upkeep, "sweep_blobs", does_its_work)
    async with open_database(database.worker_url, pool_size=4, application="test") as opened:
        async with asyncio.timeout(60):
            await Upkeep(opened, KEYS).run(stop)
    assert done.is_set()

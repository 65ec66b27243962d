"""The audit log, against PostgreSQL (case L05)."""

import asyncio
import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import psycopg
import pytest
from psycopg import AsyncConnection, errors

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import NotFound, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.operations import audit_log
from devops_mcp.operations.audit_log import AuditReader, Chaining
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.database import open_database

TENANT = DEFAULT_TENANT_ID


def a_record(action: str) -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant_id=TENANT,
        actor_id=new_id(),
        actor="tester",
        action=action,
        target="github:acme/shop",
        outcome="error",
        error_code="forbidden",
        duration_ms=1.5,
        arguments={"repo": "acme/shop", "nested": {"limit": 5}},
        trace_id="0af7651916cd43dd8448eb211c80319c",
        at=datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC),
    )


async def test_records_come_back_whole_and_newest_first(database):
    records = [a_record("first"), a_record("second"), a_record("third")]
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.audit.append(records)
        async with opened.transaction(TENANT) as tx:
            assert await tx.audit.latest(2) == [records[2], records[1]]


async def test_a_record_written_again_stays_as_it_was(database):
    """A batch whose commit was not heard of is written once more."""
    record = a_record("once")
    altered = replace(record, outcome="ok")
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        for batch in ([record], [altered, a_record("new")]):
            async with opened.transaction(TENANT) as tx:
                await tx.audit.append(batch)
        async with opened.transaction(TENANT) as tx:
            stored = await tx.audit.latest(10)
    assert [entry.action for entry in stored] == ["new", "once"]
    assert stored[1] == record


async def test_another_tenant_reads_none_of_them(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        async with opened.transaction(TENANT) as tx:
            await tx.audit.append([a_record("ours")])
        async with opened.transaction(new_id()) as tx:
            assert await tx.audit.latest(10) == []


@pytest.mark.parametrize("role", ["app_url", "worker_url"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM audit_log", "UPDATE audit_log SET outcome = 'ok'", "TRUNCATE audit_log"]
)
async def test_no_service_can_change_what_was_recorded(database, role, statement):
    """T04"""
    async with await AsyncConnection.connect(getattr(database, role)) as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute(statement)


async def append(opened, *actions: str, tenant_id=TENANT) -> None:
    async with opened.transaction(tenant_id) as tx:
        await tx.audit.append([a_record(action) for action in actions])


async def verified(opened, tenant_id=TENANT):
    reader = Principal(
        id=new_id(), tenant_id=tenant_id, kind=PrincipalKind.USER, name="auditor", grants=("audit:read",)
    )
    return await AuditReader(opened).verify(reader)


def as_superuser(database, statement: str, *arguments: object) -> None:
    with psycopg.connect(database.superuser_url) as connection:
        assert connection.execute(statement, arguments).rowcount == 1


async def test_every_row_follows_the_one_before_it_whoever_writes_at_the_same_time(database):
    """I8"""
    other = new_id()
    async with open_database(database.app_url, pool_size=4, application="test") as opened:
        await asyncio.gather(
            *(
                append(opened, f"a{n}", f"b{n}", tenant_id=tenant)
                for n in range(20)
                for tenant in (TENANT, other)
            )
        )
        for tenant in (TENANT, other):
            found = await verified(opened, tenant)
            assert (found.intact, found.records, found.end.seq) == (True, 40, 40)


@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("UPDATE audit_log SET actor = 'somebody else' WHERE seq = 2", 2),
        ("UPDATE audit_log SET arguments = arguments || '{\"limit\": 6}' WHERE seq = 4", 4),
        ("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 1", 1),
        ("DELETE FROM audit_log WHERE seq = 1", 2),
        ("DELETE FROM audit_log WHERE seq = 3", 4),
        ("DELETE FROM audit_log WHERE seq = 5", 5),
        ("UPDATE audit_log SET seq = NULL WHERE seq = 2", 3),
    ],
)
async def test_a_changed_or_missing_row_is_found(database, tampering, broken_at):
    """I8: even if whoever did it may write everything."""
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await append(opened, "first", "second", "third")
        await append(opened, "fourth", "fifth")
        assert (await verified(opened)).intact
        as_superuser(database, tampering)
        found = await verified(opened)
    assert (found.intact, found.broken_at) == (False, broken_at)
    assert found.problem


async def test_a_chain_that_was_made_anew_from_some_row_on_does_not_end_as_before(database):
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await append(opened, "first", "second")
        noted = (await verified(opened)).end
        as_superuser(database, "UPDATE audit_log SET actor = 'x' WHERE seq = 2")
        as_superuser(database, "UPDATE audit_log AS a SET hash = audit_digest(a) WHERE seq = 2")
        found = await verified(opened)
        assert (found.intact, found.broken_at) == (False, 2)
        as_superuser(database, "UPDATE audit_chains SET hash = (SELECT hash FROM audit_log WHERE seq = 2)")
        forged = await verified(opened)
    assert forged.intact
    assert forged.end != noted, "who noted the end elsewhere sees it"


async def test_a_row_that_a_service_of_the_version_before_writes_is_chained_too(database):
    columns = "id, at, actor_id, actor, action, target, outcome, duration_ms, arguments"
    insert = f"INSERT INTO audit_log ({columns}) VALUES (%s, now(), %s, 'a', 'b', 'c', 'ok', 1, '{{}}') ON CONFLICT DO NOTHING"
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await append(opened, "first")
        with psycopg.connect(database.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant', %s, true)", (str(TENANT),))
            id_ = new_id()
            for _ in range(2):
                connection.execute(insert, (id_, new_id()))
            connection.commit()
            connection.execute("SELECT set_config('app.tenant', %s, true)", (str(TENANT),))
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute("INSERT INTO audit_log (id, seq, hash) VALUES (gen_random_uuid(), 9, 'x')")
        await append(opened, "third")
        found = await verified(opened)
    assert (found.intact, found.records) == (True, 3)


async def test_a_long_chain_is_verified_page_by_page(database, monkeypatch):
    monkeypatch.setattr(audit_log, "VERIFIED_AT_ONCE", 3)
    monkeypatch.setattr(audit_log, "VERIFIED_PER_REQUEST", 6)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        await append(opened, *(str(n) for n in range(10)))
        first = await verified(opened)
        reader = Principal(
            id=new_id(), tenant_id=TENANT, kind=PrincipalKind.USER, name="auditor", grants=("audit:read",)
        )
        second = await AuditReader(opened).verify(reader, first.verified_to)
        assert (
            (first.intact, first.verified_to, first.more),
            (second.intact, second.verified_to, second.more),
        ) == (
            (True, 6, True),
            (True, 10, False),
        )
        with pytest.raises(NotFound):
            await AuditReader(opened).verify(reader, 11)


async def test_several_replicas_chain_what_waits_once_while_others_record(database, monkeypatch):
    """I8, L05: workers and readers meet at the end of the chain, and each record is in it once, in the order in which it was made."""
    monkeypatch.setattr(audit_log, "CHAINED_AT_ONCE", 7)
    records = [a_record(f"waited {n:03}") for n in range(100)]
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(TENANT),))
        connection.cursor().executemany(
            "INSERT INTO audit_waiting (id, record) VALUES (%s, %s)",
            [(record.id, orjson.dumps(record).decode()) for record in reversed(records)],
        )
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        chained, *_ = await asyncio.gather(
            asyncio.gather(*(audit_log.chain_waiting(opened, TENANT) for _ in range(4))),
            *(append(opened, f"a{n}") for n in range(20)),
        )
        found = await verified(opened)
        async with opened.transaction(TENANT) as tx:
            stored = [record for record in await tx.audit.latest(200) if record.action.startswith("waited")]
    with psycopg.connect(database.superuser_url) as connection:
        numbered = connection.execute(
            "SELECT action FROM audit_log WHERE starts_with(action, 'waited') ORDER BY seq"
        ).fetchall()
        assert connection.execute("SELECT FROM audit_waiting").fetchall() == []
    assert sum(chained) == 100
    assert (found.intact, found.records) == (True, 120)
    assert list(reversed(stored)) == records
    assert [action for (action,) in numbered] == [record.action for record in records]


def let_wait(database, count: int) -> None:
    """Records that are not chained yet, as appends leave them."""
    records = [a_record(f"waited {n:04}") for n in range(count)]
    with psycopg.connect(database.app_url) as connection:
        connection.execute("SELECT set_config('app.tenant', %s, true)", (str(TENANT),))
        connection.cursor().executemany(
            "INSERT INTO audit_waiting (id, record) VALUES (%s, %s)",
            [(record.id, orjson.dumps(record).decode()) for record in records],
        )


AUDITOR = Principal(
    id=new_id(), tenant_id=TENANT, kind=PrincipalKind.USER, name="auditor", grants=("audit:read",)
)


async def found_by(reader: AuditReader) -> int:
    """How many records the reader finds."""
    return (await reader.verify(AUDITOR)).records


async def test_a_read_chains_as_much_as_it_has_the_time_for_and_shows_nothing_by_halves(
    database, monkeypatch
):
    """L05: what it chained stays, so that the next read has less to do."""
    monkeypatch.setattr(audit_log, "CHAINED_AT_ONCE", 10)
    let_wait(database, 35)
    clock = itertools.count(step=2.0)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        reader = AuditReader(opened, Chaining(opened, within_s=5.0, monotonic=lambda: next(clock)))
        with pytest.raises(Unavailable):
            await found_by(reader)
        async with opened.transaction(TENANT) as tx:
            assert len(await tx.audit.latest(100)) == 20
        assert await found_by(reader) == 35


async def test_those_who_read_at_once_do_not_all_chain(database, monkeypatch):
    """H04"""
    monkeypatch.setattr(audit_log, "CHAINED_AT_ONCE", 10)
    let_wait(database, 45)
    turns = 0
    chain = AuditLog.chain_waiting

    async def counted(log: AuditLog, limit: int) -> int:
        nonlocal turns
        turns += 1
        return await chain(log, limit)

    monkeypatch.setattr(AuditLog, "chain_waiting", counted)
    async with open_database(database.app_url, pool_size=8, application="test") as opened:
        reader = AuditReader(opened)
        assert await asyncio.gather(*(found_by(reader) for _ in range(8))) == [45] * 8
    assert turns == 5 + 1


async def test_who_reads_while_others_chain_finds_what_was_done_since_they_began(database, monkeypatch):
    """L05"""
    let_wait(database, 3)
    chained, goes_on = asyncio.Event(), asyncio.Event()
    chain = AuditLog.chain_waiting

    async def held_up(log: AuditLog, limit: int) -> int:
        count = await chain(log, limit)
        chained.set()
        await goes_on.wait()
        return count

    monkeypatch.setattr(AuditLog, "chain_waiting", held_up)
    async with open_database(database.app_url, pool_size=4, application="test") as opened:
        reader = AuditReader(opened)
        first = asyncio.create_task(found_by(reader))
        await chained.wait()
        let_wait(database, 2)
        second = asyncio.create_task(found_by(reader))
        await asyncio.sleep(0)
        goes_on.set()
        assert await first >= 3
        assert await second == 5


async def test_chaining_keeps_the_speed_of_batches(database):
    """As a ratio within one run, to batches that the database stores without a chain."""
    batch = 200
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("CREATE TABLE unchained (LIKE audit_log INCLUDING INDEXES)")
        connection.execute("GRANT INSERT, SELECT ON unchained TO devops_mcp_app")
    insert = """
        INSERT INTO unchained (tenant_id, id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id)
        SELECT current_tenant(), id, at, actor_id, actor, action, target, outcome, error_code, duration_ms, arguments, trace_id
        FROM jsonb_to_recordset(%s::jsonb) AS given(
            id uuid, at timestamptz, actor_id uuid, actor text, action text, target text, outcome text, error_code text,
            duration_ms double precision, arguments jsonb, trace_id text)
        ON CONFLICT DO NOTHING
        """
    took: dict[str, list[float]] = {"chained": [], "unchained": []}
    async with open_database(database.app_url, pool_size=1, application="test") as opened:
        for _ in range(40):  # the shortest of each counts: on a crowded machine it comes after more rounds
            records = [a_record("speed") for _ in range(batch)]
            started = time.perf_counter()
            async with opened.transaction(TENANT) as tx:
                await tx.audit.append(records)
            took["chained"].append(time.perf_counter() - started)
            started = time.perf_counter()
            async with opened.transaction(TENANT) as tx:
                await tx.audit._connection.execute(insert, (orjson.dumps(records).decode(),))
            took["unchained"].append(time.perf_counter() - started)
    ratio = min(took["chained"]) / min(took["unchained"])
    print(
        f"chained {min(took['chained']) / batch * 1e6:.0f} µs a row, unchained {min(took['unchained']) / batch * 1e6:.0f}: {ratio:.1f}"
    )
    assert ratio < 6

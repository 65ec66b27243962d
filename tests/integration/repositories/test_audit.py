"""The audit log, against PostgreSQL (case L05)."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from psycopg import AsyncConnection, errors

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
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

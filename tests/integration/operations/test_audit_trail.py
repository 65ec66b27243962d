"""The audit trail loses no record to another, whatever is in it and whatever the database says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import DeadlineExceeded, PlatformError, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.usage import CallUsed
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations import audit
from devops_mcp.operations.audit import AuditTrail, open_audit_trail
from devops_mcp.operations.masking import bounded, masked
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.rows import dumps
from devops_mcp.repositories.transaction import Transaction
from support.tenants import add_tenant

OURS, THEIRS = DEFAULT_TENANT_ID, new_id()
WITHIN_S = 30.0


def a_record(target: str, tenant_id: UUID = OURS, **arguments) -> AuditRecord:
    return AuditRecord(
        id=new_id(),
        tenant_id=tenant_id,
        actor_id=new_id(),
        actor="tester",
        action="tool.write",
        target=target,
        outcome="ok",
        duration_ms=1.0,
        arguments=masked(arguments),
        at=utc_now(),
    )


class Failing(Database):
    """Fails the transactions of a tenant, as long as there is a failure for it."""

    failures: dict[UUID, Exception]
    failed = 0
    unheard: Exception | None = None
    """Fails the next transaction once it is committed."""

    @asynccontextmanager
    async def transaction(self, tenant_id):
        if tenant_id in self.failures:
            self.failed += 1
            raise self.failures[tenant_id]
        async with super().transaction(tenant_id) as tx:
            yield tx
        unheard, self.unheard = self.unheard, None
        if unheard is not None:
            raise unheard


@asynccontextmanager
async def a_failing(database, **failures: Exception) -> AsyncIterator[Failing]:
    """A database with a second tenant; `ours` and `theirs` say what fails."""
    add_tenant(database, THEIRS)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        failing = Failing(opened._pool, opened._url)
        failing.failures = {{"ours": OURS, "theirs": THEIRS}[name]: error for name, error in failures.items()}
        yield failing


async def targets(database: Database, tenant_id: UUID = OURS) -> list[str]:
    """Of what is recorded, oldest first."""
    async with Database.transaction(database, tenant_id) as tx:
        return [record.target for record in await tx.audit.latest(1_000)][::-1]


async def test_numbers_of_any_size_and_halves_of_characters_are_written(database):
    """H05: jsonb keeps 1e30 as an integer, which does not fit into 64 bits."""
    odd = {"size": 10**30, "half\ud800": "\udfff", "nul\0": "\0", "within": [{"\udc00": -(2**65)}]}
    async with a_failing(database) as opened:
        async with open_audit_trail(opened, Metrics()) as trail:
            assert await trail.written(trail.keep(a_record("odd", **odd)))
        async with opened.transaction(OURS) as tx:
            [record] = await tx.audit.latest(10)
    assert record.arguments == {
        "size": 10**30,
        "half?": "?",
        "nul\\0": "\\0",
        "within": [{"?": -(2**65)}],
    }


async def test_a_record_that_the_database_never_takes_is_set_aside_and_told(database):
    """L05: the others are written, and who waits for it is not told that it is."""
    metrics = Metrics()
    async with a_failing(database) as opened:
        trail = AuditTrail(opened, metrics)
        names = [f"{number}" for number in range(40)]
        for name in names[:17]:
            trail.keep(a_record(name))
        never = trail.keep(a_record("nul\0"))
        rest = [trail.keep(a_record(name)) for name in names[17:]]
        assert not await trail.written(never)
        assert await trail.written(rest[-1])
        assert await targets(opened) == names
    assert metrics.registry.get_sample_value("devops_mcp_audit_records_set_aside_total") == 1


async def test_a_tenant_whose_records_are_refused_as_an_outage_comes_last(database):
    async with a_failing(database, ours=Unavailable("too large")) as opened:
        trail = AuditTrail(opened, Metrics())
        trail.keep(a_record("ours"))
        theirs = trail.keep(a_record("theirs", THEIRS))
        assert [await trail.written(theirs) for _ in range(2)] == [False, True]


@pytest.mark.parametrize("failure", [RuntimeError("a fault of ours"), Unavailable("gone")])
async def test_the_writer_goes_on_after_any_failure(database, failure):
    """P01: nobody waits for long meanwhile, or is told that a record is written."""
    with capture_logs() as logs:
        async with a_failing(database, ours=failure) as opened, open_audit_trail(opened, Metrics()) as trail:
            kept = trail.keep(a_record("kept"))
            assert not await trail.written(kept)
            async with asyncio.timeout(WITHIN_S):
                while opened.failed < 3:
                    await asyncio.sleep(0.02)
                opened.failures.clear()
                while not kept.written:
                    await asyncio.sleep(0.02)
            assert await targets(opened) == ["kept"]
    assert "audit records wait" in [entry["event"] for entry in logs]


async def test_one_tenants_trouble_holds_up_nobody_elses_records(database):
    async with a_failing(database, ours=DeadlineExceeded("locked")) as opened:
        trail = AuditTrail(opened, Metrics())
        ours = [f"{number}" for number in range(8)]
        for target in ours:
            trail.keep(a_record(target))
        assert await trail.written(trail.keep(a_record("theirs", THEIRS)))
        assert opened.failed == 1, "what takes too long is not tried again while others wait"
        opened.failures.clear()
        await trail.flush()
        assert (await targets(opened), await targets(opened, THEIRS)) == (ours, ["theirs"])


async def test_what_takes_too_long_is_tried_again_before_a_stop(database):
    async with a_failing(database, ours=DeadlineExceeded("locked")) as opened:
        trail = AuditTrail(opened, Metrics())
        trail.keep(a_record("ours"))
        closing = asyncio.create_task(trail.close())
        async with asyncio.timeout(WITHIN_S):
            while not opened.failed:
                await asyncio.sleep(0.02)
            opened.failures.clear()
            await closing
        assert await targets(opened) == ["ours"]


async def test_a_call_is_counted_once_whatever_was_heard_of_its_commit(database):
    """P02: also where it is written again in parts."""
    async with a_failing(database) as opened:
        trail = AuditTrail(opened, Metrics())
        for _ in range(4):
            trail.keep(a_record("fs_write"), used=CallUsed("filesystem", 1))
        opened.unheard = Unavailable("no answer")
        with pytest.raises(Unavailable):
            await trail.flush()
        opened.failures[OURS] = DeadlineExceeded("locked")
        with pytest.raises(DeadlineExceeded):
            await trail.flush()
        opened.failures.clear()
        await trail.flush()
        async with opened.transaction(OURS) as tx:
            assert await calls_counted(tx) == 4


async def calls_counted(tx: Transaction) -> int:
    [(calls,)] = await (
        await tx.connection.execute("SELECT coalesce(sum(calls), 0)::int FROM tool_usage")
    ).fetchall()
    return calls


async def test_records_stay_small_enough_to_be_written_together():
    """H04: a thousand at once, each of a request as large as it may be."""
    deep = {f"{n}": ["x" * 400] * 50 for n in range(100)}
    broad = {f"name_{n}" + "y" * 9_000: "z" * 400 for n in range(1_000)}
    assert bounded({"deep": deep, "api_token": "hush"}) == {"deep": "…", "api_token": "***"}
    assert len(dumps(bounded(broad))) < 100_000


async def test_what_is_done_is_recorded_even_when_no_more_may_begin(database, monkeypatch):
    """P01: calls are refused before anything is done, as long as no more can be held."""
    monkeypatch.setattr(audit, "HELD", 1)
    async with a_failing(database, ours=Unavailable("gone")) as opened:
        trail = AuditTrail(opened, Metrics())
        await trail.make_room(OURS)
        under_way = ["one", "other"]
        for target in under_way:
            trail.keep(a_record(target))
        with pytest.raises(PlatformError, match="too many audit records"):
            await trail.make_room(OURS)
        opened.failures.clear()
        await trail.make_room(OURS)
        assert await targets(opened) == under_way


async def test_a_tenant_that_cannot_be_recorded_leaves_the_others_room(database, monkeypatch):
    monkeypatch.setattr(audit, "HELD_OF_ONE", 1)
    async with a_failing(database, ours=DeadlineExceeded("locked")) as opened:
        trail = AuditTrail(opened, Metrics())
        trail.keep(a_record("ours"))
        with pytest.raises(Unavailable, match="too many audit records"):
            await trail.make_room(OURS)
        await trail.make_room(THEIRS)

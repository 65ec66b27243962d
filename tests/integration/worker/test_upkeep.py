"""The worker's recurring jobs, against PostgreSQL."""

from datetime import timedelta
from uuid import UUID

import psycopg
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.models.base import utc_now
from devops_mcp.models.dead_letters import DeadLetter
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.results import KeptResult
from devops_mcp.repositories.database import open_database
from worker.upkeep import DEAD_LETTERS_KEPT, REMEMBERED, Upkeep

SEAL = SecretSeal(Keyring([SecretStr("a master key for the tests, and nothing else")]))
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
            await Upkeep(opened, SEAL).remove_expired()
            kept = connection.execute("SELECT tenant_id FROM kept_results ORDER BY 1").fetchall()
            recent = connection.execute("SELECT count(*) FROM processed_messages").fetchone()
            later = utc_now() + REMEMBERED + timedelta(minutes=1)
            await Upkeep(opened, SEAL, now=lambda: later).remove_expired()
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
        await Upkeep(opened, SEAL, now=lambda: now).remove_expired()
        async with opened.transaction(DEFAULT_TENANT_ID) as tx:
            left = await tx.dead_letters.page(None, None, 10)
    assert [letter.id for letter in left] == [letters[0].id]


async def test_partitions_that_are_missing_are_created(database):
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        newest = (
            "SELECT max(relname) FROM pg_class WHERE relname ~ '^events_[0-9]{4}_[0-9]{2}$' AND relkind = 'r'"
        )
        [before] = connection.execute(newest).fetchone()
        connection.execute(f"DROP TABLE {before}")
        async with open_database(database.worker_url, pool_size=2, application="test") as opened:
            await Upkeep(opened, SEAL).create_partitions()
            await Upkeep(opened, SEAL).create_partitions()
        assert connection.execute(newest).fetchone() == (before,)

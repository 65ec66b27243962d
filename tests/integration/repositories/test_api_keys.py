"""API keys, against PostgreSQL: the one look-up that precedes knowing the tenant (case A10)."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from psycopg import AsyncConnection, errors

from devops_mcp.auth.api_keys import generate_key, hash_secret, parse_key
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import FoundKey, PrincipalKind
from devops_mcp.repositories.api_keys import insert_as_owner
from devops_mcp.repositories.database import open_database

TENANT = DEFAULT_TENANT_ID


def a_key(*, prefix: str | None = None, tenant: UUID = TENANT) -> FoundKey:
    parts = parse_key(generate_key())
    assert parts is not None
    return FoundKey(
        id=new_id(),
        tenant_id=tenant,
        prefix=prefix or parts.prefix,
        secret_hash=hash_secret(parts.secret),
        kind=PrincipalKind.AGENT,
        name="laptop",
        grants=("tools:read:*", "search:read"),
        created_at=datetime(2026, 11, 20, tzinfo=UTC),
    )


async def add_tenant(owner_url: str) -> UUID:
    tenant = new_id()
    async with await AsyncConnection.connect(owner_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant),))
        await connection.execute("INSERT INTO tenants (tenant_id, name) VALUES (%s, 'other')", (tenant,))
    return tenant


async def test_a_key_is_found_by_its_prefix_with_all_that_decides_about_it(database):
    key = a_key()
    assert await insert_as_owner(database.owner_url, key)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        assert await opened.find_api_keys(key.prefix) == [key]


async def test_only_the_whole_prefix_finds_a_key(database):
    key = a_key()
    await insert_as_owner(database.owner_url, key)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        for other in ("", key.prefix[:-1], key.prefix.upper(), "%", f"{key.prefix} "):
            assert await opened.find_api_keys(other) == []


async def test_a_prefix_is_a_tenants_once_and_may_be_anothers_too(database):
    key = a_key()
    tenant = await add_tenant(database.owner_url)
    assert await insert_as_owner(database.owner_url, key)
    assert not await insert_as_owner(database.owner_url, a_key(prefix=key.prefix))
    theirs = a_key(prefix=key.prefix, tenant=tenant)
    assert await insert_as_owner(database.owner_url, theirs)
    async with open_database(database.app_url, pool_size=2, application="test") as opened:
        found = await opened.find_api_keys(key.prefix)
    assert {one.id for one in found} == {key.id, theirs.id}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM api_keys",
        "UPDATE api_keys SET prefix = 'another'",
        "UPDATE api_keys SET kind = 'user'",
    ],
)
async def test_a_service_cannot_delete_keys_or_make_them_anothers(database, statement):
    """T04"""
    async with await AsyncConnection.connect(database.app_url) as connection:
        with pytest.raises(errors.InsufficientPrivilege):
            await connection.execute(statement)


async def test_the_worker_has_no_use_for_keys_and_cannot_look_them_up(database):
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        with pytest.raises(errors.InsufficientPrivilege):
            await opened.find_api_keys("abcdefghijkl")

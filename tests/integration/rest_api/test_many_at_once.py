"""What a limit or the pool must hold against, where many ask for the same at once."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

import rest_api.app
from devops_mcp.models.ids import OPERATOR_TENANT_ID, new_id
from devops_mcp.operations import identity_links, rules, webhook_endpoints
from support.rest import a_caller
from support.services import new_key, settings_for
from support.tenants import add_tenant

AT_ONCE = 8
LARGE = 24_000_000
"""More than sockets hold."""
ENDPOINT: dict[str, Any] = {"name": "receiver", "url": "http://127.0.0.1:9/hook", "filter": {}}
RULE: dict[str, Any] = {
    "name": "look into it",
    "match": {"types": ["build.*"]},
    "action": {"kind": "notification", "title": "a build ended"},
}
TENANTS = "/api/v1/tenants"


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url).model_copy(update={"database_pool_size": AT_ONCE})


async def test_a_limit_of_endpoints_and_rules_holds_for_those_that_come_at_once(
    database, settings, monkeypatch
):
    monkeypatch.setattr(webhook_endpoints, "MAX_ENDPOINTS", 2)
    monkeypatch.setattr(rules, "MAX_RULES", 2)
    async with a_caller(database, settings) as rest:
        for path, draft in (("/api/v1/webhook-endpoints", ENDPOINT), ("/api/v1/rules", RULE)):
            made = await asyncio.gather(*(rest("POST", path, json=draft) for _ in range(AT_ONCE)))
            assert sorted(answer.status_code for answer in made) == [201] * 2 + [409] * 6, path


async def test_a_limit_of_a_users_identities_holds_for_those_that_come_at_once(
    database, settings, monkeypatch
):
    monkeypatch.setattr(identity_links, "MAX_OF_A_USER", 2)
    async with a_caller(database, settings) as rest:
        user = {"username": "zoe", "name": "Zoe", "email": "zoe@example.com", "roles": ["viewer"]}
        path = f"/api/v1/users/{(await rest('POST', '/api/v1/users', json=user)).json()['id']}/identities"
        made = await asyncio.gather(
            *(
                rest("POST", path, json={"issuer": "https://id.example.com", "subject": f"z{n}"})
                for n in range(AT_ONCE)
            )
        )
    assert sorted(answer.status_code for answer in made) == [201] * 2 + [409] * 6


async def test_conditional_changes_of_other_tenants_do_not_wait_for_each_others_connections(
    database, settings
):
    """H04: each has a connection for that tenant, and one for the record in the operator's own."""
    assert settings.database_pool_size == AT_ONCE
    others = [new_id() for _ in range(2 * AT_ONCE)]
    for number, tenant_id in enumerate(others):
        add_tenant(database, tenant_id, f"t{number}")
    async with a_caller(database, settings, tenant_id=OPERATOR_TENANT_ID) as root:
        seen = [(await root("GET", f"{TENANTS}/{tenant_id}")).headers["etag"] for tenant_id in others]
        renamed = await asyncio.gather(
            *(
                root("PUT", f"{TENANTS}/{tenant_id}", json={"name": "renamed"}, headers={"If-Match": etag})
                for tenant_id, etag in zip(others, seen, strict=True)
            )
        )
    assert [answer.status_code for answer in renamed] == [200] * len(others)
    with psycopg.connect(database.superuser_url) as connection:
        [kept] = connection.execute(
            "SELECT count(*) FROM audit_log WHERE tenant_id = %s AND action LIKE 'tenants.%%'",
            (OPERATOR_TENANT_ID,),
        ).fetchone()
    assert kept == len(others)


@pytest.mark.parametrize("what", ["a file", "an export"])
async def test_answers_that_are_read_slowly_are_few_of_one_caller(database, settings, monkeypatch, what):
    """H04, S04: each is a connection, and a file besides in memory, for as long as its reader likes."""
    monkeypatch.setattr(rest_api.app, "SLOW_OF_ONE", 2)
    other = new_id()
    add_tenant(database, other)
    async with a_caller(database, settings) as rest, AsyncExitStack() as stack:
        context = (await rest("POST", "/api/v1/contexts", json={"title": "x"})).json()
        attached = await rest.http.post(
            "/api/v1/attachments",
            params={"context_id": context["id"], "name": "core.bin"},
            content=b"x" * LARGE,
            headers={"Content-Type": "application/octet-stream"},
        )
        assert attached.status_code == 201, attached.text
        path = f"/api/v1/contexts/{context['id']}"
        path += "/export" if what == "an export" else f"/items/{attached.json()['position']}/content"

        async def begin(whose: AsyncExitStack, key: str | None = None) -> int:
            """Begin to read, and leave it there; the status."""
            headers = {} if key is None else {"X-API-Key": key}
            return (
                await whose.enter_async_context(rest.http.stream("GET", path, headers=headers))
            ).status_code

        async with AsyncExitStack() as slow:
            assert [await begin(slow) for _ in range(3)] == [200, 200, 429]
            colleague = await new_key(database.owner_url)
            assert await begin(slow, colleague) == 200
            assert (await rest("GET", "/api/v1/contexts")).status_code == 200
        async with asyncio.timeout(60):
            while await begin(stack) != 200:
                await asyncio.sleep(0.01)

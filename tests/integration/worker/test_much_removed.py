"""What is deleted with more rows than one statement may take the time for: gone at once, and removed by the worker in steps."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.context_removal import AT_ONCE
from devops_mcp.repositories.database import open_database
from support.rest import a_caller
from support.services import settings_for
from worker.upkeep import Upkeep

KEYS = Keyring([SecretStr("a master key for the tests, and nothing else")])
MANY = 3 * AT_ONCE
FORBID = """
    CREATE FUNCTION forbid_much() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT count(*) FROM gone) > {most} THEN
            RAISE EXCEPTION 'one statement deletes more than it has the time for' USING ERRCODE = 'query_canceled';
        END IF;
        RETURN NULL;
    END $$
"""
WATCH = """
    CREATE TRIGGER much AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forbid_much()
"""


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url)


def forbid_much(database, *tables: str) -> None:
    """Let every statement that deletes more rows of them than upkeep does fail as one that takes too long, cascades among them."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(sql.SQL(FORBID).format(most=sql.Literal(AT_ONCE)))
        for table in tables:
            connection.execute(sql.SQL(WATCH).format(table=sql.Identifier(table)))


def rows(database, table: str) -> int:
    with psycopg.connect(database.superuser_url) as connection:
        count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
        return count.fetchone()[0]


@asynccontextmanager
async def upkeep_of(database) -> AsyncIterator[Upkeep]:
    async with open_database(database.worker_url, pool_size=2, application="test") as opened:
        yield Upkeep(opened, KEYS)


async def test_an_endpoint_goes_however_much_was_delivered_to_it(database, settings):
    paths = "/api/v1/webhook-endpoints"
    async with a_caller(database, settings) as rest:
        draft = {"name": "receiver", "url": "http://127.0.0.1:9/hook", "filter": {}}
        gone, stays = [(await rest("POST", paths, json=draft)).json()["id"] for _ in range(2)]
        with psycopg.connect(database.superuser_url) as connection:
            for endpoint_id, count in ((gone, MANY), (stays, 2)):
                connection.execute(
                    """
                    INSERT INTO webhook_deliveries (tenant_id, id, endpoint_id, event_id, next_at)
                    SELECT %s, gen_random_uuid(), %s, gen_random_uuid(), now() FROM generate_series(1, %s)
                    """,
                    (DEFAULT_TENANT_ID, endpoint_id, count),
                )
        [delivery] = (await rest("GET", f"{paths}/{gone}/deliveries?limit=1")).json()["items"]
        forbid_much(database, "webhook_deliveries")

        assert (await rest("DELETE", f"{paths}/{gone}")).status_code == 204
        for path in ("", "/deliveries", f"/deliveries/{delivery['id']}"):
            assert (await rest("GET", f"{paths}/{gone}{path}")).status_code == 404, path
        assert [one["id"] for one in (await rest("GET", paths)).json()["items"]] == [stays]
        async with upkeep_of(database) as upkeep:
            await upkeep.remove_expired()
        assert rows(database, "webhook_deliveries") == 2
        assert len((await rest("GET", f"{paths}/{stays}/deliveries")).json()["items"]) == 2


async def test_a_context_goes_however_much_it_holds(database, settings):
    async with a_caller(database, settings) as rest:
        path = f"/api/v1/contexts/{(await rest('POST', '/api/v1/contexts', json={'title': 'long'})).json()['id']}"
        fill(database, UUID(path.rsplit("/", 1)[1]))
        found = (await rest("POST", "/api/v1/search", json={"query": "disk"})).json()["hits"]
        forbid_much(database, "context_items", "passages")

        assert (await rest("DELETE", path)).status_code == 204
        assert found
        assert (await rest("GET", path)).status_code == 404
        assert (await rest("POST", f"{path}/items", json={"items": [{"text": "more"}]})).status_code == 404
        assert (await rest("GET", "/api/v1/contexts")).json()["items"] == []
        assert (await rest("POST", "/api/v1/search", json={"query": "disk"})).json()["hits"] == []
        async with upkeep_of(database) as upkeep:
            await upkeep.remove_expired_contexts()
        assert [rows(database, table) for table in ("contexts", "context_items", "passages")] == [0, 0, 0]
        deeds = (await rest("GET", "/api/v1/audit?action=contexts.delete")).json()["items"]
        ended = (await rest("GET", "/api/v1/audit?action=contexts.expire")).json()["items"]
    assert [deed["target"] for deed in deeds] == [
        path.removeprefix("/api/v1/contexts/").join(("context:", ""))
    ]
    assert ended == [], "it was deleted, and did not end by itself"


async def test_a_context_that_has_expired_goes_however_much_it_holds(database, settings):
    async with a_caller(database, settings) as rest:
        for _ in range(2):
            made = (await rest("POST", "/api/v1/contexts", json={"title": "long"})).json()
            fill(database, UUID(made["id"]))
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE contexts SET expires_at = now()")
        forbid_much(database, "context_items", "passages")
        async with upkeep_of(database) as upkeep:
            await upkeep.remove_expired_contexts()
        assert [rows(database, table) for table in ("contexts", "context_items", "passages")] == [0, 0, 0]
        ended = (await rest("GET", "/api/v1/audit?action=contexts.expire")).json()["items"]
    assert len(ended) == 2


async def test_a_context_goes_however_much_is_found_of_its_files(database, settings):
    """One item may have a thousand passages."""
    async with a_caller(database, settings) as rest:
        path = f"/api/v1/contexts/{(await rest('POST', '/api/v1/contexts', json={'title': 'files'})).json()['id']}"
        fill(database, UUID(path.rsplit("/", 1)[1]))
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("DELETE FROM context_items WHERE position > 1")
            connection.execute("UPDATE contexts SET item_count = 1, token_count = 1")
        forbid_much(database, "context_items", "passages")
        assert (await rest("DELETE", path)).status_code == 204
        async with upkeep_of(database) as upkeep:
            await upkeep.remove_expired_contexts()
    assert [rows(database, table) for table in ("contexts", "context_items", "passages")] == [0, 0, 0]


def fill(database, context_id: UUID) -> None:
    """Put many items into a context, and a passage for each."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            """
            INSERT INTO context_items (tenant_id, context_id, position, id, kind, text, tokens)
            SELECT %(tenant)s, %(context)s, n, gen_random_uuid(), 'note', 'disk', 1 FROM generate_series(1, %(count)s) AS n
            """,
            {"tenant": DEFAULT_TENANT_ID, "context": context_id, "count": MANY},
        )
        connection.execute(
            """
            INSERT INTO passages (tenant_id, id, kind, source_id, part, context_id, owner_id, title, text, uri, occurred_at)
            SELECT i.tenant_id, gen_random_uuid(), 'context_item', i.id, 0, context_id, owner_id, '', text, '', now()
            FROM context_items AS i JOIN contexts AS c ON c.id = i.context_id WHERE context_id = %s
            """,
            (context_id,),
        )
        connection.execute(
            "UPDATE contexts SET item_count = %s, token_count = %s WHERE id = %s", (MANY, MANY, context_id)
        )


async def test_a_queues_letters_go_however_many_there_are(database, settings):
    forbid_much(database, "dead_letters")
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            """
            INSERT INTO dead_letters (tenant_id, id, queue, message_id, type, body, reason, attempts, died_at)
            SELECT %s, gen_random_uuid(), queue, gen_random_uuid(), 'event.received', '{}', 'x', 5, now()
            FROM generate_series(1, %s), unnest(ARRAY['events', 'contexts']) AS queue
            """,
            (DEFAULT_TENANT_ID, MANY),
        )
    async with a_caller(database, settings) as rest:
        purged = await rest("POST", "/api/v1/dead-letters/purge", json={"queue": "events"})
    assert (purged.status_code, purged.json()) == (200, {"purged": MANY})
    assert rows(database, "dead_letters") == MANY


async def test_sessions_and_codes_that_ended_go_however_many_there_are(database):
    """What cannot be removed in one step must not keep what comes behind it either."""
    forbid_much(database, "sessions", "oauth_clients", "device_codes")
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute(
            """
            WITH u AS (
                INSERT INTO users (tenant_id, id, username, name, status, roles, grants)
                VALUES (%(tenant)s, gen_random_uuid(), 'ci', 'CI', 'active', '{}', '{}') RETURNING id
            )
            INSERT INTO sessions (tenant_id, id, user_id, client_id, client_name, audience, scopes, refresh_hash, refreshed_at, idle_until,
                expires_at)
            SELECT %(tenant)s, gen_random_uuid(), u.id, 'c', 'c', 'a', '{}', '', now(), now() - interval '3 d', now() - interval '3 d'
            FROM u, generate_series(1, %(count)s)
            """,
            {"tenant": DEFAULT_TENANT_ID, "count": MANY},
        )
    async with upkeep_of(database) as upkeep:
        await upkeep.remove_expired()
    assert rows(database, "sessions") == 0

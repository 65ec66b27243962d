"""A context that is taken in from a file is there as a whole or not at all, whatever happens in the midst."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import psycopg
import pytest

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.operations.contexts import LARGE
from devops_mcp.repositories.database import Database, open_database
from support.rest import Rest, a_caller
from support.rest_process import a_rest_api
from support.services import new_key, settings_for
from worker.upkeep import Upkeep

HEAD = {"type": "context", "format": 1, "title": "the canary's night", "items": 250}
LARGE_TEXT = "the canary sings at noon. " * (LARGE // 20)
LINES = [HEAD, *({"type": "item", "kind": "note", "text": f"canary {n}"} for n in range(249))]
LINES.append({"type": "item", "kind": "note", "text": LARGE_TEXT})
FIRST = LINES[:1] + LINES[-1:] + LINES[1:150]
"""Of which a hundred items are written before the rest comes."""
QUESTION = {"query": "canary"}


def body(lines: list[dict]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.fixture
def settings(database, redis_url):
    return settings_for(database.app_url, redis_url, embedding_provider="lexical")


def told(database, query: str) -> list[tuple]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


async def half_an_import(database, reached: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield body(FIRST)
    async with asyncio.timeout(60):
        while told(database, "SELECT count(*) FROM context_items") != [(100,)]:
            await asyncio.sleep(0.02)
    reached.set()
    await go_on.wait()
    yield body(LINES[150:250])


async def seen(rest: Rest, context_id: str) -> dict[str, object]:
    """What the context's owner, who may see everything, is shown of it."""
    path = f"/api/v1/contexts/{context_id}"
    item = {"items": [{"text": "in between"}]}
    answers = [
        await rest("GET", path),
        await rest("GET", f"{path}/items"),
        await rest("GET", f"{path}/window"),
        await rest("GET", f"{path}/export"),
        await rest("POST", f"{path}/items", json=item),
        await rest("POST", f"{path}/fork", json={}),
        await rest("POST", f"{path}/snapshots", json={"name": "x"}),
        await rest("PUT", f"{path}/retention", json={"expires_at": None}),
        await rest("DELETE", path),
    ]
    return {
        "answers": {answer.status_code for answer in answers},
        "listed": len((await rest("GET", "/api/v1/contexts")).json()["items"]),
        "hits": len((await rest("POST", "/api/v1/search", json=QUESTION)).json()["hits"]),
    }


NOTHING = {"answers": {404}, "listed": 0, "hits": 0}


async def test_nobody_is_shown_a_context_before_all_of_it_is_taken_in(database, settings):
    reached, go_on = asyncio.Event(), asyncio.Event()
    async with a_caller(database, settings) as rest, asyncio.TaskGroup() as tasks:
        content = half_an_import(database, reached, go_on)
        taking = tasks.create_task(rest.http.post("/api/v1/imports", content=content))
        await reached.wait()
        [(context_id,)] = told(database, "SELECT id FROM contexts")
        in_the_midst = await seen(rest, context_id)
        go_on.set()
        made = await taking
        got = await rest("GET", f"/api/v1/contexts/{context_id}")
        found = (await rest("POST", "/api/v1/search", json=QUESTION)).json()["hits"]
        actions = {one["action"] for one in (await rest("GET", "/api/v1/audit")).json()["items"]}
    assert in_the_midst == NOTHING
    assert (made.status_code, made.json()["item_count"], made.json()["expires_at"]) == (201, 250, None)
    assert got.json() == made.json()
    assert len(found) == 10
    assert actions == {"contexts.begin", "contexts.append", "contexts.create"}


async def upkeep_finds(database, settings, left_for: timedelta) -> None:
    """What upkeep removes once nobody has added to it for so long."""
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        connection.execute("UPDATE contexts SET taken_in_until = taken_in_until - %s", (left_for,))
    async with open_database(database.worker_url, pool_size=2, application="worker") as opened:
        await Upkeep(opened, Keyring(settings.master_keys)).remove_expired_contexts()


async def test_of_an_import_that_is_killed_nothing_is_seen_and_upkeep_removes_what_is_left(
    database, redis_url, settings
):
    """D01"""
    environment = {
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": json.dumps([key.get_secret_value() for key in settings.master_keys]),
        "EMBEDDING_PROVIDER": "lexical",
    }
    reached, never = asyncio.Event(), asyncio.Event()
    key = await new_key(database.owner_url)
    async with a_rest_api(environment) as process, httpx2.AsyncClient(timeout=60) as http:
        content = half_an_import(database, reached, never)
        taking = asyncio.create_task(
            http.post(f"{process.url}/api/v1/imports", content=content, headers={"X-API-Key": key})
        )
        await reached.wait()
        assert await process.end(signal.SIGKILL) == -signal.SIGKILL
        taking.cancel()
        await asyncio.wait([taking])
    [(context_id,)] = told(database, "SELECT id FROM contexts")
    async with a_caller(database, settings) as rest:
        assert await seen(rest, context_id) == NOTHING
        await upkeep_finds(database, settings, timedelta(minutes=50))
        assert told(database, "SELECT count(*) FROM context_items") == [(100,)]
        await upkeep_finds(database, settings, timedelta(minutes=11))
        assert await seen(rest, context_id) == NOTHING
    for table in ("contexts", "context_items", "passages"):
        assert told(database, f"SELECT count(*) FROM {table}") == [(0,)]
    released = "SELECT count(*) FROM outbox WHERE message LIKE '%blobs.released%'"
    assert told(database, released) == [(1,)], "the text that is kept apart goes after it"
    actions = [action for (action,) in told(database, "SELECT action FROM audit_log ORDER BY id")]
    assert actions[-1] == "contexts.expire"


async def test_an_import_goes_on_that_upkeep_looked_at_and_one_that_was_removed_says_so(database, settings):
    reached, go_on = asyncio.Event(), asyncio.Event()
    async with a_caller(database, settings) as rest, asyncio.TaskGroup() as tasks:
        content = half_an_import(database, reached, go_on)
        taking = tasks.create_task(rest("POST", "/api/v1/imports", content=content))
        await reached.wait()
        await upkeep_finds(database, settings, timedelta(minutes=61))
        go_on.set()
        refused = await taking
        listed = (await rest("GET", "/api/v1/contexts")).json()["items"]
    assert (refused.status_code, refused.json()["code"], listed) == (409, "conflict", [])


async def test_upkeep_does_not_remove_what_is_just_being_completed(database, settings):
    async with (
        a_caller(database, settings) as rest,
        open_database(database.worker_url, pool_size=3, application="test") as opened,
    ):
        made = (await rest.http.post("/api/v1/imports", content=body(LINES))).json()
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            connection.execute("UPDATE contexts SET expires_at = now(), taken_in_until = now()")
        async with opened.transaction(DEFAULT_TENANT_ID) as completing:
            assert await completing.contexts.complete(made["id"], None) is not None
            assert await expired(opened) == []
        assert await expired(opened) == []
        assert (await rest("GET", f"/api/v1/contexts/{made['id']}")).status_code == 200


async def expired(database: Database) -> list:
    async with database.transaction(DEFAULT_TENANT_ID) as tx:
        return await tx.contexts.expired(10)


async def test_a_long_context_is_summed_up_once_it_is_whole(database, redis_url):
    """A summary in the midst would move the items behind it, and what their summaries stand for."""
    settings = settings_for(
        database.app_url, redis_url, embedding_provider="lexical", compact_above_tokens=100
    )
    asked = "SELECT count(*) FROM outbox WHERE queue = 'contexts'"
    reached, go_on = asyncio.Event(), asyncio.Event()
    async with a_caller(database, settings) as rest, asyncio.TaskGroup() as tasks:
        content = half_an_import(database, reached, go_on)
        taking = tasks.create_task(rest.http.post("/api/v1/imports", content=content))
        await reached.wait()
        in_the_midst = told(database, asked)
        go_on.set()
        assert (await taking).status_code == 201
    assert (in_the_midst, told(database, asked)) == ([(0,)], [(1,)])

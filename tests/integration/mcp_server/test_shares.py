"""One key's crowd of slow requests on mcp-server, over real sockets: it holds a part of the pool, and others are served."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import psycopg
import pytest
from psycopg import sql

import devops_mcp.repositories.database
from devops_mcp.models.ids import new_id
from support.channels import STATELESS, asking, channel
from support.services import new_key, running_mcp, settings_for
from support.tenants import add_tenant

POOL, SHARE = 5, 4
CROWD = 20
LONG_S = 60.0
WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'mcp-server' AND wait_event_type = 'Lock'
"""
TOOL, RESULT, SEARCH = "a tool", "a resource", "a search, which looks in tasks of its own"
REQUESTS = {
    TOOL: ("facts", "tools/call", {"name": "fact_list", "arguments": {}}),
    RESULT: ("kept_results", "resources/read", {"uri": f"devops://results/{new_id()}"}),
    SEARCH: ("passages", "tools/call", {"name": "context_search", "arguments": {"query": "disk full"}}),
}


@contextmanager
def locked(url: str, table: str) -> Iterator[psycopg.Connection]:
    """Whoever reads the table waits."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table)))
        yield connection


@pytest.mark.parametrize(
    ("transport", "slow"),
    [("ws", TOOL), ("ws", RESULT), ("ws", SEARCH), ("http-json", TOOL), ("http-json", RESULT)],
)
async def test_a_crowd_of_slow_requests_leaves_connections_to_others(
    database, redis_url, monkeypatch, transport, slow
):
    """H04"""
    # What waits for the lock goes on waiting for longer than others do for a connection.
    patient = devops_mcp.repositories.database._SESSION.replace("timeout=5000", "timeout=60000", 1)
    monkeypatch.setattr(devops_mcp.repositories.database, "_SESSION", patient)
    table, method, params = REQUESTS[slow]
    other = new_id()
    add_tenant(database, other)
    crowd, neighbour = await new_key(database.owner_url), await new_key(database.owner_url, tenant_id=other)
    settings = settings_for(database.mcp_url, redis_url).model_copy(update={"database_pool_size": POOL})

    async with running_mcp(settings) as url, AsyncExitStack() as stack, asyncio.timeout(LONG_S):
        theirs = [
            await stack.enter_async_context(channel(transport, url, crowd, STATELESS)) for _ in range(CROWD)
        ]
        ask = await stack.enter_async_context(channel(transport, url, neighbour, STATELESS))
        look = {"name": "context_list", "arguments": {}}
        await ask(json.dumps({**asking(STATELESS, "tools/call", **look), "id": 1}))
        waiting = stack.enter_context(psycopg.connect(database.superuser_url, autocommit=True))

        with locked(database.superuser_url, table) as lock:
            slowly = json.dumps({**asking(STATELESS, method, **params), "id": 1})
            asked = [asyncio.create_task(each(slowly)) for each in theirs]
            while waiting.execute(WAITING).fetchone()[0] < SHARE:
                await asyncio.sleep(0.01)
            answer = await ask(json.dumps({**asking(STATELESS, "tools/call", **look), "id": 2}))
            assert answer is not None
            assert not answer["result"]["isError"], answer
            assert waiting.execute(WAITING).fetchone()[0] <= SHARE
            lock.rollback()
        await asyncio.gather(*asked)

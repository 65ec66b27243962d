"""SIGKILL of any one process while webhooks arrive: what was accepted is processed, each event once. Against a running suite."""

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx2
import psycopg
import pytest

from support.github_webhooks import failed_run, signed
from support.suite import Suite, running_suite

COUNT = 60
KILL_AT = 20
PROCESSED_WITHIN_S = 60.0


pytestmark = pytest.mark.xdist_group("killed_processes")
"""One suite for all of them: each process of pytest-xdist would start its own."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with running_suite(tmp_path_factory.mktemp("suite")) as running:
        yield running


async def deliver_until_accepted(suite: Suite, payload: dict[str, Any]) -> str:
    """As GitHub does: what was not answered 2xx is delivered again, the same bytes under the same id. Its event's id, if told."""
    body, headers = signed("workflow_run", payload, suite.addresses["webhook_secrets"]["github"])
    async with asyncio.timeout(60):
        while True:
            try:
                async with httpx2.AsyncClient(timeout=5) as http:
                    answer = await http.post(
                        f"{suite.addresses['rest']}/webhooks/github", content=body, headers=headers
                    )
                if answer.status_code == 202:
                    return str(answer.json()["status"])
                assert answer.status_code >= 500, answer.text
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)


async def processed(suite: Suite, marker: str) -> list[str]:
    """The titles of this test's events that were processed and indexed, once they are all there; one row an index entry."""
    query = """
        SELECT p.title FROM events AS e JOIN passages AS p ON p.source_id = e.id AND p.tenant_id = e.tenant_id
        WHERE e.processed_at IS NOT NULL AND e.event->>'title' LIKE %s AND p.part = 0
    """
    async with asyncio.timeout(PROCESSED_WITHIN_S):
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(suite.addresses["postgres"]) as connection:
                    rows = await (await connection.execute(query, (f"%{marker}%",))).fetchall()
                if len(rows) >= COUNT:
                    return [str(row[0]) for row in rows]
            except psycopg.OperationalError:
                pass
            await asyncio.sleep(0.2)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["worker", "rest-api", "mcp-server", "redis", "sqs", "postgres"])
async def test_a_killed_process_loses_and_repeats_nothing(suite, name):
    """D01, P01, R01, D09"""
    marker = f"while {name} dies"
    for number in range(COUNT):
        if number == KILL_AT:
            os.kill(suite.pids[name], signal.SIGKILL)
        await deliver_until_accepted(suite, failed_run(message=f"{marker} {number:03}"))
    titles = await processed(suite, marker)
    assert len(titles) == len(set(titles)) == COUNT

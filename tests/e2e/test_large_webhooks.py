"""Large webhooks, several at once: what rest-api took for them it gives back."""

import asyncio
import json

import httpx2
import pytest

from support.github_webhooks import failed_run, signed
from support.worker_process import WorkerProcess, started

SECRET = "s" * 32
AT_ONCE, LARGE = 5, 20_000_000
MAX_GROWTH_MIB = 50
"""Five hold 100 MB while they are handled; a connection that had carried one kept 32 MB of it."""


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


@pytest.mark.timeout(300)
async def test_memory_for_large_webhooks_is_given_back(database, redis_url):
    """H04"""
    settings = {
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": '["a master key for the tests, and nothing else"]',
        "EMBEDDING_PROVIDER": "lexical",
        "REST__RECEIVE_TIMEOUT_S": "60",
        "INTEGRATIONS": json.dumps([{"name": "github", "system": "github", "webhook_secrets": [SECRET]}]),
    }
    async with (
        started(WorkerProcess, "rest_api", "REST", settings) as server,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=120) as http,
    ):
        before = resident_mib(server.pid)
        for round_ in range(3):
            large = [failed_run(message=f"{round_} {n}", log="x" * LARGE) for n in range(AT_ONCE)]
            sent = [signed("workflow_run", payload, SECRET) for payload in large]
            answers = await asyncio.gather(
                *(http.post("/webhooks/github", content=body, headers=headers) for body, headers in sent)
            )
            assert [answer.status_code for answer in answers] == [202] * AT_ONCE
            async with asyncio.timeout(30):
                while (grown := resident_mib(server.pid) - before) > MAX_GROWTH_MIB:
                    assert (await http.get("/health/live")).is_success, grown
                    await asyncio.sleep(0.1)

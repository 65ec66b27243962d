"""Rules from the front door to their effect: written over REST, started by webhooks in workers that are killed, read over REST."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import pytest

from devops_mcp.cache.notices import Gap, Notice, Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.config import Settings
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.observability.metrics import Metrics
from support.github_webhooks import deliver, failed_run
from support.rest import Rest
from support.services import new_key, running_rest, settings_for
from support.worker_process import a_worker
from worker.app import open_app as open_worker

SECRET = "a webhook secret for tests"
MASTER_KEY = "a master key for the tests, and nothing else"
MATCH = {"types": ["build.finished"], "systems": ["github"], "fields": [{"path": "$.failed", "value": True}]}
BACK_AFTER = {QueueName.EVENTS: timedelta(seconds=2), QueueName.TASKS_NORMAL: timedelta(seconds=20)}
"""When the messages of a killed worker come back; a task's not before its lease has ended."""


@dataclass
class Bench:
    """rest-api, what a worker of its own needs to know, and the folder that tools of both reach."""

    rest: Rest
    worker: dict[str, str]
    settings: Settings
    folder: Path
    database: psycopg.Connection

    async def rule(self, name: str, action: dict[str, Any]) -> str:
        draft = {"name": name, "match": MATCH, "action": action, "limit": {"runs": 1_000, "per_s": 60}}
        created = await self.rest("POST", "/api/v1/rules", json=draft)
        assert created.status_code == 201, created.text
        return str(created.json()["id"])

    async def builds_fail(self, *numbers: int) -> list[str]:
        events = []
        for number in numbers:
            payload = failed_run(message=f"build {number}", id=number)
            answer = await deliver(self.rest.http, "", "workflow_run", payload, SECRET)
            assert answer.status_code == 202, answer.text
            events += answer.json()["events"]
        return events

    async def runs(self, rule: str) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = (
                await self.rest("GET", f"/api/v1/rules/{rule}/runs", params={"limit": 100, **cursor})
            ).json()
            runs += page["items"]
            if page["next_cursor"] is None:
                return runs
            cursor = {"cursor": page["next_cursor"]}

    async def until_ended(self, count: int) -> None:
        """Until so many runs have, of all rules together."""
        async with asyncio.timeout(120):
            while self.count("rule_runs WHERE outcome <> 'started'") < count:
                await asyncio.sleep(0.2)

    def count(self, of: str) -> int:
        row = self.database.execute(f"SELECT count(*) FROM {of}").fetchone()  # type: ignore[arg-type]
        return row[0] if row else 0


@pytest.fixture
async def bench(database, redis_url, queues, tmp_path) -> AsyncIterator[Bench]:
    prefix = f"test-{uuid4().hex[:12]}-"
    specs = [
        replace(spec, visibility_timeout=BACK_AFTER.get(spec.name, spec.visibility_timeout), max_receives=20)
        for spec in QUEUES
    ]
    await create_queues(queues.endpoint_url, prefix=prefix, specs=specs)
    roots = {"work": {"path": str(tmp_path), "read_only": False}}
    integrations = [
        {"name": "github", "system": "github", "webhook_secrets": [SECRET]},
        {"name": "files", "system": "fs", "options": {"roots": roots}},
    ]
    worker = {
        "DATABASE_URL": database.worker_url,
        "REDIS_URL": redis_url,
        "MASTER_KEYS": json.dumps([MASTER_KEY]),
        "SQS_ENDPOINT_URL": queues.endpoint_url,
        "QUEUE_PREFIX": prefix,
        "EMBEDDING_PROVIDER": "lexical",
        "INTEGRATIONS": json.dumps(integrations),
    }
    key = await new_key(database.owner_url)
    own = {"sqs_endpoint_url": queues.endpoint_url, "queue_prefix": prefix, "embedding_provider": "lexical"}
    settings = settings_for(database.worker_url, redis_url, integrations, **own)
    async with (
        running_rest(settings_for(database.app_url, redis_url, integrations)) as url,
        httpx2.AsyncClient(base_url=url, headers={"X-API-Key": key}, timeout=20) as http,
    ):
        with psycopg.connect(database.superuser_url, autocommit=True) as connection:
            yield Bench(Rest(http), worker, settings, tmp_path, connection)


@pytest.mark.timeout(240)
async def test_from_a_webhook_by_a_rule_to_a_result_once_though_the_worker_is_killed(bench, redis_url):
    """D01, I6"""
    make = {"kind": "tool", "tool": "fs_mkdir", "arguments": {"path": "work/run-{{ $.run_id }}"}}
    makes = await bench.rule("make a folder", make)
    tells = await bench.rule(
        "tell", {"kind": "notification", "title": "{{ $.workflow }} broke {{ $.subject }}"}
    )
    async with a_worker(bench.worker) as worker, open_redis(redis_url, command_timeout_s=2) as redis:
        async with aclosing(Notices(redis, Metrics()).listen()) as listener:
            assert await anext(listener) == Gap(listening=True)
            [event] = await bench.builds_fail(1)
            told = await _told(listener)
        await bench.until_ended(2)
        [made] = await bench.runs(makes)
        task = await bench.rest(
            "POST", "/api/v1/tools/task_get/call", json={"arguments": {"task_id": made["task_id"]}}
        )
        assert (told.system, told.subject, told.title) == ("devops-mcp", "acme/shop", "CI broke acme/shop")
        assert (made["event_id"], made["outcome"], made["task_status"]) == (event, "done", "completed")
        assert "run-1" in json.dumps(task.json()["result"])
        assert {path.name for path in bench.folder.iterdir()} == {"run-1"}

        failing = asyncio.create_task(bench.builds_fail(*range(2, 31)))
        async with asyncio.timeout(60):
            while bench.count("rule_runs WHERE outcome = 'done'") < 12:
                await asyncio.sleep(0.02)
        await worker.end(signal.SIGKILL)
        await failing
    async with open_worker(bench.settings, Metrics(), asyncio.Event()):
        await bench.until_ended(60)
    ended = {rule: await bench.runs(rule) for rule in (makes, tells)}
    for runs in ended.values():
        assert len(runs) == len({run["event_id"] for run in runs}) == 30
    # A call that the dying worker left behind is not made again; whether it was made nobody knows.
    broken = [run for run in ended[makes] if run["outcome"] == "failed"]
    assert all("not known whether" in run["reason"] for run in broken)
    assert len(broken) <= 8
    assert len(list(bench.folder.iterdir())) >= 30 - len(broken)
    assert {run["outcome"] for run in ended[tells]} == {"done"}
    assert bench.count("tasks") == 30
    assert bench.count("events WHERE type = 'rule.notified'") == 30


async def _told(listener: AsyncIterator[Notice | Gap]) -> Notice:
    """The first notice that a rule tells."""
    async with asyncio.timeout(60):
        async for heard in listener:
            if isinstance(heard, Notice) and heard.type == "rule.notified":
                return heard
    raise AssertionError("the listener ended")

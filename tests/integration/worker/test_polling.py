"""Workers that poll a Prometheus, one of them killed."""

import asyncio
import json
import signal

import psycopg

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.config import IntegrationSettings
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.integrations import open_integrations
from devops_mcp.operations.polling import PollRunner
from devops_mcp.repositories.database import open_database
from support.prometheus_fake import SINCE, PrometheusFake
from support.servers import LOOPBACK, serve
from support.worker_process import a_worker
from worker.polling import Pollings

ALERTS = "/api/v1/alerts"
FACTS = "SELECT subject FROM facts WHERE predicate = 'alert' AND value IS NOT NULL"
EVENTS = "SELECT type, subject FROM events ORDER BY id"


def alert(name: str) -> dict:
    labels = {"alertname": name, "severity": "page"}
    return {"labels": labels, "annotations": {}, "state": "firing", "activeAt": SINCE, "value": "1e+00"}


async def test_two_workers_poll_as_one_and_when_one_is_killed_the_other_goes_on(database, redis_url, queues):
    """D01, D03: as many looks as one worker makes, each alert told once, from its poll to its fact."""
    fake, stop = PrometheusFake(active=[alert("First")]), asyncio.Event()

    async def rows(query: str) -> list[tuple]:
        async with await psycopg.AsyncConnection.connect(database.superuser_url) as connection:
            return await (await connection.execute(query)).fetchall()  # type: ignore[arg-type]

    async def until(query: str, expected: list[tuple]) -> None:
        async with asyncio.timeout(90):
            while await rows(query) != expected:
                await asyncio.sleep(0.05)

    async with (
        serve(fake.app) as url,
        open_database(database.worker_url, pool_size=2, application="other") as opened,
    ):
        integration = {
            "name": "prom-eu",
            "system": "prometheus",
            "options": {"base_url": url},
            "polls": {"alerts": {"every_s": 1}},
        }
        settings = {
            "DATABASE_URL": database.worker_url,
            "REDIS_URL": redis_url,
            "MASTER_KEYS": json.dumps(["a master key for the tests, and nothing else"]),
            "SQS_ENDPOINT_URL": queues.endpoint_url,
            "QUEUE_PREFIX": queues.prefix,
            "EMBEDDING_PROVIDER": "lexical",
            "PRIVATE_NETWORKS": '["127.0.0.0/8"]',
            "INTEGRATIONS": json.dumps([integration]),
        }
        configured = [IntegrationSettings.model_validate(integration)]
        outside = Outside(private_networks=LOOPBACK)
        async with (
            a_worker(settings) as one,
            open_integrations(configured, load_adapters(), outside) as integrations,
            asyncio.TaskGroup() as tasks,
        ):
            other = Pollings(PollRunner(opened, integrations, Metrics()), integrations)
            tasks.create_task(other.run(stop))
            await until(FACTS, [("First",)])
            await one.end(signal.SIGKILL)
            fake.active = [alert("First"), alert("Second")]
            await until(EVENTS, [("alert.fired", "First"), ("alert.fired", "Second")])
            stop.set()
    looks = sum(path == ALERTS for _, path, _ in fake.requests)
    [(turns, finished)] = await rows("SELECT fence::int, (cursor ->> 'looks')::int FROM pollers")
    # Each look was one worker's turn; the killed one and the stopped one may each have left one unfinished.
    assert finished <= looks <= turns <= finished + 2

"""Workers that poll a Prometheus, one of them killed."""

import asyncio
import json
import signal
from collections.abc import Callable

import psycopg
from pydantic import SecretStr

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.registry import load_adapters
from devops_mcp.auth.envelope import Envelope
from devops_mcp.auth.keyring import Keyring
from devops_mcp.config import IntegrationSettings
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.integration_watch import watching
from devops_mcp.operations.integrations import open_integrations
from devops_mcp.operations.polling import PollRunner
from devops_mcp.repositories.database import open_database
from support.prometheus_fake import SINCE, PrometheusFake
from support.rest import a_caller
from support.servers import LOOPBACK, serve
from support.services import settings_for
from support.worker_process import a_worker
from worker.polling import Pollings

ALERTS = "/api/v1/alerts"
MASTER_KEY = "a master key for the tests, and nothing else"
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
            "MASTER_KEYS": json.dumps([MASTER_KEY]),
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


async def test_an_integration_is_polled_from_when_a_tenant_makes_it_until_it_is_gone(database, redis_url):
    here, there = PrometheusFake(active=[alert("Here")]), PrometheusFake(active=[alert("There")])
    stop, envelope = asyncio.Event(), Envelope(Keyring([SecretStr(MASTER_KEY)]))

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.05)

    def loops() -> list[str]:
        return [name for task in asyncio.all_tasks() if (name := task.get_name()).startswith("poll ")]

    async with (
        serve(here.app) as one,
        serve(there.app) as other,
        open_database(database.worker_url, pool_size=2, application="worker") as opened,
        open_integrations((), load_adapters(), Outside(private_networks=LOOPBACK)) as integrations,
        watching(opened, integrations, envelope),
        a_caller(database, settings_for(database.app_url, redis_url)) as rest,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(Pollings(PollRunner(opened, integrations, Metrics()), integrations).run(stop))
        draft = {"options": {"base_url": one}, "polls": {"alerts": {}}}
        await rest("POST", "/api/v1/integrations", json={"name": "own", "system": "prometheus", **draft})
        await until(lambda: here.requests)
        await until(lambda: subjects(database) == ["Here"])
        with psycopg.connect(database.superuser_url) as connection:
            connection.execute("UPDATE pollers SET next_at = now()")
        await rest("PUT", "/api/v1/integrations/own", json=draft | {"options": {"base_url": other}})
        await until(lambda: subjects(database) == ["Here", "There"])
        assert loops() == ["poll own alerts"]
        asked = len(here.requests)
        await rest("DELETE", "/api/v1/integrations/own")
        await until(lambda: not loops())
        stop.set()
    assert len(here.requests) == asked


def subjects(database) -> list[str]:
    with psycopg.connect(database.superuser_url) as connection:
        return [row[0] for row in connection.execute("SELECT subject FROM events ORDER BY id")]

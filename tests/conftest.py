"""Fixtures that every test may use: a fresh database, Redis and queues on the servers of `support.stack`."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cache
from pathlib import Path
from time import sleep
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from psycopg import sql
from redis import Redis
from xdist.scheduler import LoadGroupScheduling

from devops_mcp.embedded.postgres import SUPERUSER
from devops_mcp.embedded.roles import MCP, OWNER, REST, WORK
from devops_mcp.events.connection import open_sqs
from devops_mcp.events.provisioning import ensure_queues
from devops_mcp.models.base import utc_now
from support.stack import TEMPLATE, Stack, StackProcess

_PROCESS = pytest.StashKey[StackProcess]()
_UNIT_TESTS = Path(__file__).parent / "unit"
_STACK_STATE = "stack_state"
_NEAR_MIDNIGHT_S = 60

# Examples are the same in every run, and none is too slow, so that a run fails for what was changed and for nothing else. Others are
# made up with `--hypothesis-profile=random`.
for _profile, _the_same in {"suite": True, "random": False}.items():
    hypothesis.settings.register_profile(
        _profile,
        derandomize=_the_same,
        deadline=None,
        database=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("suite")


@dataclass(frozen=True)
class Database:
    """A migrated database of one test. `app_url` and `mcp_url` are of the role of requests, `worker_url` of the worker's."""

    name: str
    app_url: str
    mcp_url: str
    worker_url: str
    owner_url: str
    superuser_url: str


@dataclass(frozen=True)
class Queues:
    """The queues of one test: those of `events.queues.QUEUES` under its own prefix, with their dead-letter queues."""

    endpoint_url: str
    prefix: str
    region: str = "us-east-1"


def pytest_configure(config: pytest.Config) -> None:
    _set_environment()
    # The controller of xdist starts the servers while its workers start; a single process does when the first test asks.
    if _is_controller(config) and not _only_unit_tests(config):
        config.stash[_PROCESS] = StackProcess(redis_count=len(config.getoption("tx")))


def pytest_unconfigure(config: pytest.Config) -> None:
    process = config.stash.get(_PROCESS, None)
    if process is not None:
        process.stop()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    process = node.config.stash.get(_PROCESS, None)
    if process is not None:
        node.workerinput[_STACK_STATE] = str(process.state)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Stack:
    """The servers of this test run."""
    workerinput = getattr(pytestconfig, "workerinput", None)
    if workerinput is not None:
        assert _STACK_STATE in workerinput, (
            "a test under tests/unit asks for the servers; move it to tests/integration"
        )
        return Stack.wait_for(Path(workerinput[_STACK_STATE]))
    if _PROCESS not in pytestconfig.stash:
        pytestconfig.stash[_PROCESS] = StackProcess(redis_count=1)
    return Stack.wait_for(pytestconfig.stash[_PROCESS].state)


@pytest.fixture(scope="session")
def administration(stack: Stack) -> Iterator[psycopg.Connection]:
    """The superuser's connection, for what a test may not do itself."""
    with psycopg.connect(stack.administration_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def database(stack: Stack, administration: psycopg.Connection) -> Iterator[Database]:
    """A fresh, migrated database; dropped after the test, whoever is still connected."""
    name = f"test_{uuid4().hex}"
    identifier, owner = sql.Identifier(name), sql.Identifier(OWNER)
    administration.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(identifier, sql.Identifier(TEMPLATE), owner)
    )
    roles = (REST, MCP, WORK, OWNER, SUPERUSER)
    yield Database(name, *(stack.servers.database_url(role, name) for role in roles))
    administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@pytest.fixture
def redis_url(stack: Stack, worker_number: int) -> str:
    """An empty Redis that no other test uses at the same time, and that nobody listens to any more."""
    url = stack.redis_urls[worker_number]
    with Redis.from_url(url) as client:
        client.client_kill_filter(_type="pubsub")
        client.flushall()
    return url


@pytest.fixture
async def queues(stack: Stack) -> AsyncIterator[Queues]:
    """Every queue of the table under a prefix no other test has; deleted after the test."""
    own = Queues(stack.servers.sqs_url, f"test-{uuid4().hex[:12]}-")
    async with open_sqs(endpoint_url=own.endpoint_url, region=own.region) as client:
        await ensure_queues(client, own.prefix)
        yield own
        for url in (await client.list_queues(QueueNamePrefix=own.prefix)).get("QueueUrls", ()):
            await client.delete_queue(QueueUrl=url)


@pytest.fixture
def one_day() -> None:
    """For a test that counts by days: it waits for midnight (UTC) where that is near, and ends on the day on which it began."""
    now = utc_now()
    left = (datetime.combine(now.date(), time(), UTC) + timedelta(days=1) - now).total_seconds()
    if left < _NEAR_MIDNIGHT_S:
        sleep(left)


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0 for the first process that runs tests, 1 for the second …"""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


class _ByModule(LoadGroupScheduling):
    """`--dist loadgroup` for modules that are marked: xdist 3.8 writes the group into an id that pytest 9.2 does not read any more."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if _is_marked(self.config.rootpath / module) else nodeid


@cache
def _is_marked(module: Path) -> bool:
    return "pytest.mark.xdist_group(" in module.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    return _ByModule(config, log) if config.getvalue("dist") == "loadgroup" else None


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput") and bool(config.getoption("tx", default=None))


def _only_unit_tests(config: pytest.Config) -> bool:
    paths = [
        Path(config.invocation_params.dir, argument.split("::")[0]).resolve() for argument in config.args
    ]
    return all(path.is_relative_to(_UNIT_TESTS) for path in paths)


def _set_environment() -> None:
    """Settings of the developer's shell must not reach the tests; the queue takes any credentials but wants some."""
    for name in [name for name in os.environ if name.startswith(("DEVOPS_MCP_", "AWS_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    os.environ |= {"AWS_EC2_METADATA_DISABLED": "true"}

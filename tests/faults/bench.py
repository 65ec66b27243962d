"""What the fault scenarios work on: real servers, rest-api and two workers as processes, a network of our own between, and senders."""

import asyncio
import json
import math
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
from pydantic import JsonValue, SecretStr
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.embedded import postgres
from devops_mcp.embedded.ports import LOOPBACK, choose_ports
from devops_mcp.embedded.process import Child, Program
from devops_mcp.embedded.redis import RedisServer
from devops_mcp.embedded.roles import OWNER, REST, WORK
from devops_mcp.embedded.servers import Servers, prepare_database, sqs_program
from devops_mcp.embedded.state import load_secrets
from devops_mcp.events.messages import TaskReady
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName
from devops_mcp.events.sqs import SqsQueue, open_queues
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import DeadlineExceeded, Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.models.tasks import NewTask
from devops_mcp.models.webhooks import EndpointDraft, EventFilter
from devops_mcp.operations.webhook_endpoints import WebhookEndpointService
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.migrate import migrate
from faults import invariants
from faults.contexts import ContextWriter
from faults.invariants import Counts
from faults.letters import Letters
from faults.load import SECRET, SENDERS, Load
from faults.processes import Service, a_zygote
from faults.proxy import FaultProxy, a_fault_proxy
from faults.queue_faults import QueueFaults
from faults.quick_queues import quick_queues
from support.forks import Forks
from support.servers import LOOPBACK as PRIVATE
from support.servers import Answers, serve
from support.services import new_key

_QUIET = 3
"""So often in a row all must be found at rest: audit records and what they publish come a moment after the call."""
_MOST_FILES = 160
"""Of a process at rest: a worker has a connection to the queue for each receiver and relay, and two pools."""
MASTER_KEY = "a master key for the fault suite, and nothing else"


@dataclass
class Network:
    """One service's ways to its servers."""

    postgres: FaultProxy
    redis: FaultProxy
    sqs: FaultProxy

    @property
    def all(self) -> Sequence[FaultProxy]:
        return self.postgres, self.redis, self.sqs

    def heal(self) -> None:
        for proxy in self.all:
            proxy.heal()


class Server:
    """PostgreSQL, Redis or the queue: stopped, killed and started again on the same port and data."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._child: Child | None = None

    async def start(self) -> None:
        self._child = await Child.start(self.program)
        await self._child.wait_ready()

    async def stop(self, number: signal.Signals | None = None) -> None:
        """With the program's own signal, or this one."""
        assert self._child is not None
        if number is None:
            await self._child.stop()
        else:
            self.send(number)
            await self._child.wait()

    def send(self, number: signal.Signals) -> None:
        assert self._child is not None
        os.kill(self._child.pid, number)


class TaskMaker:
    """Submits tasks as mcp-server does: row and message in one transaction."""

    def __init__(self, database: Database, owner_id: UUID) -> None:
        self._database = database
        self._owner_id = owner_id
        self.submitted: set[UUID] = set()

    async def submit(self) -> None:
        """A call that takes its time. Whoever asks is answered after the commit."""
        id_ = new_id()
        arguments: dict[str, JsonValue] = {"target": "slow", "query": f'up{{task="{id_}"}}'}
        task = NewTask(
            id=id_,
            owner_id=self._owner_id,
            tool="prometheus_query",
            arguments=arguments,
            expires_at=utc_now() + timedelta(hours=1),
        )
        async with self._database.transaction(DEFAULT_TENANT_ID) as tx:
            message = TaskReady(id=new_id(), tenant_id=DEFAULT_TENANT_ID, task_id=id_)
            await tx.tasks.add(task, message.id)
            await tx.outbox.add(QueueName.TASKS_NORMAL, message)
        self.submitted.add(id_)

    @asynccontextmanager
    async def submitting(self, every_s: float) -> AsyncIterator[None]:
        """Submit while the block runs; what the database did not take was not submitted. Not at all with `math.inf`."""

        async def keep() -> None:
            while not math.isinf(every_s):
                with suppress(Unavailable, DeadlineExceeded):
                    await self.submit()
                await asyncio.sleep(every_s)

        going = asyncio.create_task(keep())
        try:
            yield
        finally:
            going.cancel()
            with suppress(asyncio.CancelledError):
                await going


class SlowSystem:
    """Prometheus, as far as a query goes: each takes its time."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/api/v1/query":
            self.asked += 1
            await asyncio.sleep(self._chance.uniform(0.1, 2.0))
        found = {"status": "success", "data": {"resultType": "vector", "result": []}}
        await JSONResponse(found)(scope, receive, send)


@dataclass
class Bench:
    """Everything that a scenario may break, and what tells whether it was mended."""

    chance: random.Random
    postgres: Server
    redis: Server
    sqs: Server
    rest: Service
    workers: tuple[Service, Service]
    networks: Mapping[str, Network]
    queue_faults: QueueFaults
    queue_faults_port: int
    load: Load
    queues: Mapping[QueueName, SqsQueue]
    administration_url: str
    receiver: Answers
    slow: SlowSystem
    tasks: TaskMaker
    contexts: ContextWriter
    letters: Letters
    dead_on_purpose: int = 0

    def network(self, service: Service) -> Network:
        return self.networks[service.name]

    def misbehaving_queue(self) -> None:
        """From now on the services speak to the queue through `queue_faults`."""
        for network in self.networks.values():
            network.sqs.upstream_port = self.queue_faults_port
            network.sqs.reset_all()

    async def heal(self) -> None:
        """Everything runs and is connected again."""
        for network in self.networks.values():
            network.heal()
            network.sqs.upstream_port = _port(self.sqs)
        self.queue_faults.twice, self.queue_faults.out_of_order_s = False, 0
        for service in (self.rest, *self.workers):
            if not service.alive:
                await service.start()

    def connection(self) -> psycopg.Connection:
        return psycopg.connect(self.administration_url, autocommit=True)

    async def settled(self, within_s: float) -> tuple[float, str]:
        """Wait until all is at rest (I10); the seconds it took, and what was last."""
        begun, last, quiet = time.monotonic(), "", 0
        with self.connection() as connection:
            while quiet < _QUIET and time.monotonic() - begun < within_s:
                left = {
                    **invariants.waiting(connection),
                    **await invariants.waiting_in_queues(self.queues),
                }
                last, quiet = str(left) if left else last, 0 if left else quiet + 1
                await asyncio.sleep(0.15)
        return time.monotonic() - begun, last

    def check(self) -> Counts:
        with self.connection() as connection:
            return invariants.check(connection, self.load.history, self.dead_on_purpose, self.tasks.submitted)


async def until(holds: Callable[[], Awaitable[bool] | bool], within_s: float = 60.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(within_s):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def a_bench(state: Path, seed: int, *, quick: bool) -> AsyncIterator[Bench]:
    """A bench in a folder of its own; `quick` brings messages back after seconds, else the queues are the product's."""
    chance = random.Random(seed)
    ports = choose_ports(dict.fromkeys(("postgres", "redis", "sqs", "rest", "one", "two"), 0))
    async with AsyncExitStack() as stack:
        zygote = await stack.enter_async_context(a_zygote(quick=quick))
        servers, programs = await _servers(stack, state, ports)
        await create_queues(servers.sqs_url, prefix="fault-", specs=quick_queues(QUEUES) if quick else QUEUES)
        await migrate(servers.database_url(OWNER))
        receiver, slow = Answers(PlainTextResponse("heard")), SlowSystem(chance)
        told_at = await stack.enter_async_context(serve(receiver))
        slow_url = await stack.enter_async_context(serve(slow))
        await _tenants(servers, told_at)
        owner_id = await _owner(servers)
        faults = QueueFaults(servers.sqs_url, chance)
        stack.push_async_callback(faults.close)
        faults_url = await stack.enter_async_context(serve(faults))
        networks = {
            name: Network(
                *[
                    await stack.enter_async_context(a_fault_proxy(ports[p]))
                    for p in ("postgres", "redis", "sqs")
                ]
            )
            for name in ("rest", "one", "two")
        }
        services = {
            name: _service(zygote, name, ports[name], servers, network, state, slow_url)
            for name, network in networks.items()
        }
        await asyncio.gather(*(service.start() for service in services.values()))
        for service in services.values():
            stack.push_async_callback(service.kill)
        queues = await stack.enter_async_context(
            open_queues(endpoint_url=servers.sqs_url, region="us-east-1", prefix="fault-")
        )
        direct = await stack.enter_async_context(
            open_database(servers.database_url(REST), pool_size=2, application="submitting")
        )
        yield Bench(
            chance=chance,
            postgres=programs["postgres"],
            redis=programs["redis"],
            sqs=programs["sqs"],
            rest=services["rest"],
            workers=(services["one"], services["two"]),
            networks=networks,
            queue_faults=faults,
            queue_faults_port=int(faults_url.rpartition(":")[2]),
            load=Load(f"http://{LOOPBACK}:{ports['rest']}", chance),
            queues=queues,
            administration_url=servers.database_url(postgres.SUPERUSER),
            receiver=receiver,
            slow=slow,
            tasks=TaskMaker(direct, owner_id),
            contexts=ContextWriter(direct, _agent(owner_id), chance),
            letters=Letters(direct, [_agent(owner_id, sender.tenant_id) for sender in SENDERS]),
        )


async def _servers(
    stack: AsyncExitStack, state: Path, ports: Mapping[str, int]
) -> tuple[Servers, dict[str, Server]]:
    secrets, logs = load_secrets(state), state / "logs"
    cluster = postgres.PostgresServer(
        data=postgres.settle_data_folder(state / "postgres"),
        port=ports["postgres"],
        password=secrets.postgres,
        programs=postgres.find_programs(),
        log_file=logs / "postgres.log",
        scratch=True,
    )
    stack.callback(postgres.remove_data_folder, state / "postgres")
    redis = RedisServer(state / "redis", ports["redis"], secrets.redis, logs / "redis.log", scratch=True)
    await cluster.initialise()
    started = {
        "postgres": Server(cluster.program()),
        "redis": Server(redis.program()),
        "sqs": Server(sqs_program(state, ports["sqs"], scratch=True)),
    }
    for server in started.values():
        await server.start()
        stack.push_async_callback(server.stop)
    servers = Servers(ports["postgres"], redis.url, f"http://{LOOPBACK}:{ports['sqs']}", secrets)
    await prepare_database(servers)
    return servers, started


async def _tenants(servers: Servers, told_at: str) -> None:
    """Both tenants, each with an endpoint that wants to hear of every fifth webhook."""
    seal = SecretSeal(Keyring([SecretStr(MASTER_KEY)]))
    with psycopg.connect(servers.database_url(postgres.SUPERUSER)) as connection:
        connection.execute(
            "INSERT INTO tenants (tenant_id, name) VALUES (%s, 'depot')", (SENDERS[1].tenant_id,)
        )
    async with open_database(servers.database_url(REST), pool_size=1, application="setup") as database:
        service = WebhookEndpointService(database, seal, PRIVATE)
        for sender in SENDERS:
            owner = _agent(new_id(), sender.tenant_id)
            wanted = EventFilter(subjects=("fault.told",))
            await service.create(owner, EndpointDraft(name="told", url=told_at, filter=wanted))


def _agent(id_: UUID, tenant_id: UUID = DEFAULT_TENANT_ID) -> Principal:
    return Principal(id=id_, tenant_id=tenant_id, kind=PrincipalKind.AGENT, name="o", grants=("*",))


async def _owner(servers: Servers) -> UUID:
    """Whose the tasks are: an agent with a key."""
    await new_key(servers.database_url(OWNER))
    with psycopg.connect(servers.database_url(postgres.SUPERUSER)) as connection:
        row = connection.execute("SELECT id FROM api_keys").fetchone()
    assert row is not None
    return UUID(str(row[0]))


def _service(
    zygote: Forks, name: str, port: int, servers: Servers, network: Network, state: Path, slow_url: str
) -> Service:
    section, module, role = ("REST", "rest_api", REST) if name == "rest" else ("WORKER", "worker", WORK)
    direct = servers.database_url(role)
    integrations: list[dict[str, object]] = [
        {
            "name": sender.integration,
            "system": "standard",
            "tenant_id": str(sender.tenant_id),
            "webhook_secrets": [SECRET],
        }
        for sender in SENDERS
    ]
    integrations.append({"name": "slow", "system": "prometheus", "options": {"base_url": slow_url}})
    settings = {
        "DATABASE_URL": direct.replace(f":{servers.postgres_port}/", f":{network.postgres.port}/"),
        "REDIS_URL": f"redis://:{servers.secrets.redis}@{LOOPBACK}:{network.redis.port}/0",
        "SQS_ENDPOINT_URL": f"http://{LOOPBACK}:{network.sqs.port}",
        "MASTER_KEYS": json.dumps([MASTER_KEY]),
        "QUEUE_PREFIX": "fault-",
        "EMBEDDING_PROVIDER": "lexical",
        "PRIVATE_NETWORKS": '["127.0.0.0/8"]',
        "INTEGRATIONS": json.dumps(integrations),
        f"{section}__HOST": LOOPBACK,
        f"{section}__PORT": str(port),
    }
    environment = {f"DEVOPS_MCP_{key}": value for key, value in settings.items()}
    return Service(zygote, name, module, port, environment, state / "logs" / f"{name}.log")


def _port(server: Server) -> int:
    return int(server.program.argv[server.program.argv.index("--port") + 1])

"""Events through the worker's own loop, with all that they bring about in the database, beside bare receive-and-delete loops.

All run in this process, one after the other, on the same queue server, with messages that are there already, and with as many consumers.
Logs are made as the worker makes them, and written nowhere.
"""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

from benchmarks.measure import Row, Speed, Stopwatch
from benchmarks.receiving import BareLoops, bare_loops
from benchmarks.world import World, at_rest
from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.embedded.roles import WORK
from devops_mcp.events.messages import EventReceived, Message
from devops_mcp.events.model import BuildEvent
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName, QueueSpec
from devops_mcp.events.sqs import SqsQueue, open_queues
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventProcessor
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.events import Acceptance
from worker.loop import Consumer, Policy
from worker.relay import OutboxRelay

HANDLERS = (1, 8, 64)
EVENTS = 3_000
ROUNDS = 3
AHEAD = 2
"""As in the worker itself."""
EVENTS_SPEC: QueueSpec = next(spec for spec in QUEUES if spec.name is QueueName.EVENTS)
BARE_SPEC: QueueSpec = next(spec for spec in QUEUES if spec.name is QueueName.EMBEDDINGS)


@dataclass(frozen=True)
class Bench:
    """Queues of its own, named by `prefix`, over the suite's database."""

    prefix: str
    database: Database
    queue: SqsQueue
    bare: SqsQueue
    """For the bare loops: no message of theirs is ever taken for an event's, nor an event's for theirs."""
    relay: OutboxRelay
    notices: Notices

    async def fill(self, count: int) -> None:
        """Accept events, and publish their messages."""
        for begin in range(0, count, 500):
            group = [_acceptance(n) for n in range(begin, min(begin + 500, count))]
            async with self.database.transaction(DEFAULT_TENANT_ID) as tx:
                await tx.events.accept_all(group)
        while await self.relay.publish_some():
            pass

    async def consume(self, count: int, handlers: int) -> Speed:
        """From the first receive until so many have had their effect, and all that were handled are acknowledged."""
        stop, watch = asyncio.Event(), Stopwatch()
        queue = _Acknowledged(self.queue, count, stop)
        processor = EventProcessor(self.database, self.notices, embeds=False)

        async def handle(
            tenant_id: UUID, messages: Sequence[Message], traces: Mapping[UUID, str]
        ) -> set[UUID]:
            events = [message for message in messages if isinstance(message, EventReceived)]
            done = await processor.process(tenant_id, events, traces)
            queue.handled(len(messages), len(done))
            return done

        policy = Policy(slots=handlers, ahead=AHEAD)
        consumer = Consumer(
            cast("SqsQueue", queue), EVENTS_SPEC, handle, self.database.ping, Metrics(), policy
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(consumer.run(stop, drain_timeout_s=10))
            await stop.wait()
            return watch.read(count)


class _Acknowledged:
    """A queue that sets `stop` once so many messages have had their effect and whatever was handled is deleted."""

    def __init__(self, queue: SqsQueue, count: int, stop: asyncio.Event) -> None:
        self._queue = queue
        self._left = count
        self._unacknowledged = 0
        self._stop = stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def handled(self, messages: int, fresh: int) -> None:
        self._left -= fresh
        self._unacknowledged += messages

    async def delete_batch(self, receipts: Sequence[str]) -> list[str]:
        refused = await self._queue.delete_batch(receipts)
        self._unacknowledged -= len(receipts)
        if self._left <= 0 and not self._unacknowledged:
            self._stop.set()
        return refused


async def worker(world: World) -> list[Row]:
    """With the services paused, so that they take no part."""
    await at_rest(world)
    paused = [world.suite.pids[name] for name in ("worker", "mcp-server", "rest-api")]
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with opened(world) as bench, _bare(world, bench) as bare:
            gc.collect()
            gc.freeze()  # as a service does once it runs
            return [row for handlers in HANDLERS for row in await _beside_bare(bench, bare, handlers)]
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def _bare(world: World, bench: Bench) -> AsyncIterator[BareLoops]:
    addresses = world.suite.addresses
    name = BARE_SPEC.queue(bench.prefix)
    async with bare_loops(bench.bare, name, addresses["sqs"], addresses["postgres"]) as loops:
        yield loops


async def _beside_bare(bench: Bench, bare: BareLoops, handlers: int) -> list[Row]:
    beside = {
        "standard client": bare.standard,
        "our client": bare.own,
        "our client, and an INSERT": bare.inserting,
    }
    ours: list[Speed] = []
    others: dict[str, list[Speed]] = {name: [] for name in beside}
    await bench.fill(200)
    await bench.consume(200, handlers)  # warm
    for _ in range(ROUNDS):
        await bench.fill(EVENTS)
        ours.append(await bench.consume(EVENTS, handlers))
        for name, drain in beside.items():
            others[name].append(await drain(EVENTS, handlers))
    speed = Speed.median(ours)
    return [
        _row(f"worker, {handlers} handlers", speed, name, Speed.median(rounds))
        for name, rounds in others.items()
    ]


def _row(part: str, ours: Speed, name: str, other: Speed) -> Row:
    return Row(part, str(ours), f"{name}: {other}", f"{ours.rate / other.rate:.0%} of bare")


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Bench]:
    addresses, prefix = world.suite.addresses, f"bench-{uuid4().hex[:8]}-"
    await create_queues(addresses["sqs"], prefix=prefix, specs=QUEUES)
    async with (
        # As the worker's own role, for which queries have other plans than without row security.
        open_database(world.servers.database_url(WORK), pool_size=20, application="bench") as database,
        open_redis(addresses["redis"], command_timeout_s=2) as redis,
        open_queues(endpoint_url=addresses["sqs"], region="us-east-1", prefix=prefix) as queues,
    ):
        relay = OutboxRelay(database, queues, Metrics())
        events, bare = queues[EVENTS_SPEC.name], queues[BARE_SPEC.name]
        yield Bench(prefix, database, events, bare, relay, Notices(redis, Metrics()))


def _acceptance(number: int) -> Acceptance:
    event = BuildEvent(
        id=new_id(),
        tenant_id=DEFAULT_TENANT_ID,
        type="build.finished",
        system="github",
        source="bench",
        subject=f"acme/shop-{number % 20}",
        title=f"CI failed on main (run {number})",
        occurred_at=datetime.now(UTC),
        workflow="CI",
        run_id=str(number),
        branch="main",
        conclusion="failure",
        failed=True,
    )
    return Acceptance.of([event], [f"id:{event.id}"], b"{}")

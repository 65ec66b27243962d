"""Events through the worker's own loop, with all that they bring about in the database, beside a bare receive-and-delete loop.

Both run in this process, on the same queue server, with messages that are there already, and with as many consumers. The bare loop is the
limit: nobody takes messages from a queue faster.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from benchmarks.measure import Row, Series
from benchmarks.world import World
from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import EventReceived, Message
from devops_mcp.events.model import BuildEvent
from devops_mcp.events.provisioning import create_queues
from devops_mcp.events.queues import QUEUES, QueueName, QueueSpec
from devops_mcp.events.sqs import Outgoing, SqsQueue, open_queues
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


@dataclass(frozen=True)
class Bench:
    """Queues of its own, named by `prefix`, over the suite's database."""

    prefix: str
    database: Database
    queue: SqsQueue
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

    async def consume(self, count: int, handlers: int) -> float:
        """Events a second from the first receive until the last has had its effect."""
        stop, left, ended = asyncio.Event(), count, 0.0
        processor = EventProcessor(self.database, self.notices, embeds=False)

        async def handle(tenant_id, messages: list[Message], traces):  # type: ignore[no-untyped-def]
            nonlocal left, ended
            done = await processor.process(
                tenant_id, [m for m in messages if isinstance(m, EventReceived)], traces
            )
            left -= len(done)
            if left <= 0:
                ended = time.perf_counter()
                stop.set()
            return done

        consumer = Consumer(
            self.queue,
            EVENTS_SPEC,
            handle,
            self.database.ping,
            Metrics(),
            Policy(slots=handlers, ahead=AHEAD),
        )
        begun = time.perf_counter()
        await consumer.run(stop, drain_timeout_s=10)
        return count / (ended - begun)

    async def receive_and_delete(self, count: int, loops: int) -> float:
        await self.queue.send_batch([Outgoing(body="x" * 200) for _ in range(count)])
        begun, left = time.perf_counter(), count

        async def consume() -> None:
            nonlocal left
            while left > 0:
                received = await self.queue.receive(wait_s=0)
                await self.queue.delete_batch([one.receipt for one in received])
                left -= len(received)

        await asyncio.gather(*(consume() for _ in range(loops)))
        return count / (time.perf_counter() - begun)


async def worker(world: World) -> list[Row]:
    """With the services paused, so that they take no part."""
    paused = [world.suite.pids[name] for name in ("worker", "mcp-server", "rest-api")]
    for pid in paused:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with opened(world) as bench:
            return [await _beside_bare(bench, handlers) for handlers in HANDLERS]
    finally:
        for pid in paused:
            os.kill(pid, signal.SIGCONT)


async def _beside_bare(bench: Bench, handlers: int) -> Row:
    ours, bare = Series(), Series()
    await bench.fill(200)
    await bench.consume(200, handlers)  # warm
    for _ in range(ROUNDS):
        await bench.fill(EVENTS)
        ours.rates.append(await bench.consume(EVENTS, handlers))
        bare.rates.append(await bench.receive_and_delete(EVENTS, handlers))
    return Row(
        f"worker, {handlers} handlers",
        f"{ours.rate:,.0f} events/s",
        f"{bare.rate:,.0f} messages/s",
        f"{ours.rate / bare.rate:.0%} of bare",
    )


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Bench]:
    addresses, prefix = world.suite.addresses, f"bench-{uuid4().hex[:8]}-"
    await create_queues(addresses["sqs"], prefix=prefix, specs=QUEUES)
    async with (
        open_database(_as_the_worker(world), pool_size=20, application="bench") as database,
        open_redis(addresses["redis"], command_timeout_s=2) as redis,
        open_queues(endpoint_url=addresses["sqs"], region="us-east-1", prefix=prefix) as queues,
    ):
        relay = OutboxRelay(database, queues, Metrics())
        yield Bench(prefix, database, queues[QueueName.EVENTS], relay, Notices(redis, Metrics()))


def _as_the_worker(world: World) -> str:
    """The database as the worker's own role sees it: without its row security queries have other plans."""
    environment = Path(f"/proc/{world.suite.pids['worker']}/environ").read_bytes().split(b"\0")
    [url] = [
        entry.partition(b"=")[2] for entry in environment if entry.startswith(b"DEVOPS_MCP_DATABASE_URL=")
    ]
    return url.decode()


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

"""The memory of a worker process while it drains a long queue, from the outbox's relay to the committed effect.

It should not grow with what waits. A worker of its own process is measured, on the database of the suite, whose services are paused.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from benchmarks.consuming import Bench, opened
from benchmarks.measure import Row
from benchmarks.world import World, at_rest
from devops_mcp.embedded.roles import WORK
from support.worker_process import WorkerProcess, a_worker

DRAINED = 100_000
SETTLED_AFTER = 0.1
"""The share of the messages after which pools, caches and prepared statements are as large as they get."""
_EVERY_S = 0.5


@dataclass
class _Memory:
    """Resident bytes of a process, by how much was left when they were read."""

    ready: int = 0
    samples: list[tuple[int, int]] = field(default_factory=list)

    def settled(self, count: int) -> int:
        """The most that it had while the first share was drained."""
        return max(resident for left, resident in self.samples if left >= count * (1 - SETTLED_AFTER))

    @property
    def peak(self) -> int:
        return max(resident for _, resident in self.samples)


async def drain(world: World) -> list[Row]:
    """As many messages as BENCH_DRAINED says."""
    count = int(os.environ.get("BENCH_DRAINED", str(DRAINED)))
    await at_rest(world)
    with _paused(world):
        async with opened(world) as bench:
            await bench.fill(count)
            async with _a_worker(world, bench) as worker:
                memory, seconds = await _watch(world, bench, worker, count)
    grown = memory.peak - memory.settled(count)
    return [
        Row(
            f"drain, {count:,} messages",
            f"peak {_mib(memory.peak)}, {count / seconds:,.0f} events/s",
            f"settled {_mib(memory.settled(count))}, ready {_mib(memory.ready)}",
            f"peak minus settled {_mib(grown)}",
        )
    ]


async def _watch(world: World, bench: Bench, worker: WorkerProcess, count: int) -> tuple[_Memory, float]:
    memory, begun = _Memory(ready=resident(worker.pid)), time.monotonic()
    while (left := await _left(bench)) or not memory.samples:
        memory.samples.append((left, resident(worker.pid)))
        await asyncio.sleep(_EVERY_S)
    seconds = time.monotonic() - begun
    memory.samples.append((0, resident(worker.pid)))
    with psycopg.connect(world.suite.addresses["postgres"]) as connection:
        query = "SELECT count(*) FROM events WHERE source = 'bench' AND processed_at IS NULL"
        assert connection.execute(query).fetchone() == (0,), (
            "the queue is empty, and not every event is processed"
        )
    return memory, seconds


async def _left(bench: Bench) -> int:
    depth = await bench.queue.depth()
    return depth.ready + depth.in_flight + depth.delayed


@asynccontextmanager
async def _a_worker(world: World, bench: Bench) -> AsyncIterator[WorkerProcess]:
    """A worker with the settings of the suite's own and the benchmark's queues."""
    servers = world.servers
    settings = {
        "DATABASE_URL": servers.database_url(WORK),
        "REDIS_URL": servers.redis_url,
        "SQS_ENDPOINT_URL": servers.sqs_url,
        "MASTER_KEYS": json.dumps([servers.secrets.master_key]),
        "QUEUE_PREFIX": bench.prefix,
        "EMBEDDING_PROVIDER": "lexical",
        "LOG_LEVEL": "WARNING",
    }
    async with a_worker(settings) as worker:
        yield worker


@contextmanager
def _paused(world: World) -> Iterator[None]:
    pids = [world.suite.pids[name] for name in ("worker", "mcp-server", "rest-api")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def resident(pid: int) -> int:
    """Bytes of a process that are in memory (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"

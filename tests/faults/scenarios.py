"""The faults, as a list: what is done while webhooks arrive. After each, everything comes to rest and `invariants` are counted."""

import asyncio
import math
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from devops_mcp.events.queues import QueueName
from devops_mcp.events.sqs import Outgoing
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from faults.bench import Bench, until
from faults.invariants import ATTEMPTS_ALLOWED, Counts
from faults.processes import Service
from faults.proxy import FaultProxy, Hold, Trap
from faults.quick_queues import BACK_AFTER

Act: TypeAlias = Callable[[Bench], Awaitable[None]]
SPRUNG_WITHIN_S = 60.0
RATE = 15.0
"""Webhooks a second."""


@dataclass(frozen=True)
class Scenario:
    """A fault, the cases that it shows, and how long everything may take to come to rest once it is over.

    `promised_s` is how long it may take with the product's own queues, on a machine of one's own.
    """

    name: str
    cases: str
    act: Act
    rest_within_s: float = 120.0
    promised_s: float = math.inf
    takes_minutes: float = 0.0
    """It is part of runs that last as long; 0: of the short form too."""


@dataclass(frozen=True)
class Report:
    """What was counted once a fault was over, and how long everything took to come to rest."""

    scenario: str
    recovered_s: float
    last: str
    """What came to rest last."""
    counts: Counts


async def play(
    bench: Bench, scenario: Scenario, rate: float = RATE, task_every_s: float = math.inf
) -> Report:
    """Do what the scenario says under load, let everything come to rest, and count."""
    async with bench.load.sending(rate), bench.tasks.submitting(task_every_s), bench.contexts.writing():
        await scenario.act(bench)
        await bench.heal()
    recovered, last = await bench.settled(scenario.rest_within_s)
    return Report(scenario.name, recovered, last, bench.check())


async def kill_at(bench: Bench, service: Service, trap: Trap) -> None:
    """Kill the service in the moment that the trap names, and start it again."""
    async with asyncio.timeout(SPRUNG_WITHIN_S):
        await trap.sprung.wait()
    await service.kill()
    bench.network(service).heal()
    await service.start()


async def rest_api_killed(bench: Bench) -> None:
    """Around the statement that accepts and commits: before it nobody has heard of the webhook, after it only its sender has not."""
    proxy = bench.network(bench.rest).postgres
    for hold in Hold:
        await kill_at(bench, bench.rest, proxy.trap(b"INSERT INTO delivery_keys", hold))


async def relay_killed(bench: Bench) -> None:
    """Around the sending of a batch, and around the commit that forgets what was sent."""
    worker = bench.workers[0]
    network = bench.network(worker)
    for hold in Hold:
        await kill_at(bench, worker, network.sqs.trap(b"AmazonSQS.SendMessageBatch", hold))
        await kill_at(bench, worker, network.postgres.trap(b"COMMIT", hold, after=b"DELETE FROM outbox"))


async def worker_killed(bench: Bench) -> None:
    """D01, D02: with the messages received and not yet here, around the commit of their effect, and around their deletion."""
    worker = bench.workers[1]
    network = bench.network(worker)
    await kill_at(bench, worker, network.sqs.trap(b"AmazonSQS.ReceiveMessage", Hold.AFTER))
    for hold in Hold:
        await kill_at(
            bench, worker, network.postgres.trap(b"COMMIT", hold, after=b"INSERT INTO processed_messages")
        )
        await kill_at(bench, worker, network.sqs.trap(b"AmazonSQS.DeleteMessageBatch", hold))


async def postgres_restarted(bench: Bench) -> None:
    """P01: fast, then as after a crash."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        await bench.postgres.stop(number)
        await asyncio.sleep(0.3)
        await bench.postgres.start()
        await bench.load.send(3)


def stopped(which: str, seconds: float) -> Act:
    """R01, D09: a server is gone for so long."""

    async def act(bench: Bench) -> None:
        server = {"redis": bench.redis, "queue": bench.sqs, "postgres": bench.postgres}[which]
        await server.stop(signal.SIGKILL if which == "queue" else None)
        await asyncio.sleep(seconds)
        await server.start()

    return act


async def delivered_twice(bench: Bench) -> None:
    """Every message is in the queue twice, in any order, and some acknowledgements are lost."""
    bench.queue_faults.twice, bench.queue_faults.out_of_order_s = True, 1
    bench.queue_faults.lose_deletions, bench.queue_faults.fail = 5, 5
    bench.misbehaving_queue()
    await bench.load.send(30)
    await until(lambda: bench.queue_faults.lose_deletions == 0)
    await asyncio.sleep(0.5)


async def connections_reset(bench: Bench) -> None:
    """P02: every connection of every service, five times."""
    for _ in range(5):
        for network in bench.networks.values():
            for proxy in network.all:
                proxy.reset_all()
        await asyncio.sleep(0.2)


async def answers_cut(bench: Bench) -> None:
    """Answers break off in their middle."""
    for network in bench.networks.values():
        for proxy in network.all:
            proxy.cut_answers = 3
    await asyncio.sleep(1.0)


async def slow_network(bench: Bench) -> None:
    for network in bench.networks.values():
        for proxy in network.all:
            proxy.latency_s = 0.02
    await asyncio.sleep(1.0)


def swallowed(seconds: float, *which: str) -> Act:
    """Nothing comes through, and nobody is told: a cut cable, or a server that hangs."""

    async def act(bench: Bench) -> None:
        chosen: list[FaultProxy] = [
            getattr(network, name) for network in bench.networks.values() for name in which
        ]
        for proxy in chosen:
            proxy.black_hole()
        await asyncio.sleep(seconds)
        for proxy in chosen:
            proxy.heal()

    return act


async def handler_hangs(bench: Bench) -> None:
    """One event's row is locked, so its handler hangs; its neighbours are done all the same, and it too once the lock is gone."""
    [stuck] = await _unprocessed(bench)
    with bench.connection() as connection, connection.transaction():
        connection.execute("SELECT FROM events WHERE id = %s FOR UPDATE", (stuck,))
        bench.networks["one"].heal()
        bench.networks["two"].heal()
        others = [one.marker for one in await bench.load.send(5)]
        await until(lambda: _done(bench, others))
        await until(lambda: any("deadline_exceeded" in worker.log.read_text() for worker in bench.workers))


async def handler_always_fails(bench: Bench) -> None:
    """I7, D12: an event's effect fails at each attempt until it is buried, and its neighbours are done all the same.

    Sent again once the cause is gone, it is done as well.
    """
    [found] = await _unprocessed(bench)
    stuck = str(found)
    with bench.connection() as connection:
        connection.execute(_REFUSE)
        connection.execute(_REFUSED.format(event_id=stuck))
        bench.networks["one"].heal()
        bench.networks["two"].heal()
        others = [one.marker for one in await bench.load.send(5)]
        await until(lambda: _done(bench, others))
        await until(lambda: _died(bench, stuck), within_s=180)
        connection.execute("DROP TRIGGER refused ON passages")
    [filed] = await bench.letters.about(stuck)
    assert (filed.letter.reason, filed.letter.attempts) == ("RaiseException", ATTEMPTS_ALLOWED)
    await bench.letters.send_again(filed)


async def _died(bench: Bench, event_id: str) -> bool:
    return bool(await bench.letters.about(event_id))


_REFUSE = """
    CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the fault suite says no'; END $$
"""
_REFUSED = """
    CREATE TRIGGER refused BEFORE INSERT ON passages FOR EACH ROW WHEN (NEW.source_id = '{event_id}') EXECUTE FUNCTION refuse()
"""


async def _unprocessed(bench: Bench) -> Sequence[str]:
    """An event whose message no worker has got yet, because the workers have no way to the queue."""
    for name in ("one", "two"):
        bench.networks[name].sqs.refusing = True
        bench.networks[name].sqs.reset_all()
    [one] = await bench.load.send(1)
    found: list[str] = []
    with bench.connection() as connection:
        while not found:
            query = "SELECT id FROM events WHERE event ->> 'title' LIKE %s"
            found = [row[0] for row in connection.execute(query, (f"%{one.marker}",)).fetchall()]
    return found


def _done(bench: Bench, markers: Sequence[str]) -> bool:
    query = "SELECT count(*) FROM events WHERE processed_at IS NOT NULL AND event ->> 'title' LIKE ANY(%s)"
    with bench.connection() as connection:
        row = connection.execute(query, ([f"%{marker}" for marker in markers],)).fetchone()
    return row == (len(markers),)


async def poison(bench: Bench) -> None:
    """D12: what is no message of ours, what names no event, and what names no tenant; their neighbours are unaffected."""
    strange = [
        "no JSON at all",
        '{"type": "event.imagined", "id": "x"}',
        f'{{"type": "event.received", "id": "{new_id()}", "tenant_id": "{DEFAULT_TENANT_ID}", "event_id": "{new_id()}"}}',
        f'{{"type": "event.received", "id": "{new_id()}", "tenant_id": "{new_id()}", "event_id": "{new_id()}"}}',
    ]
    await bench.queues[QueueName.EVENTS].send_batch([Outgoing(body=body) for body in strange])
    bench.dead_on_purpose += len(strange)
    await bench.load.send(10)
    query = "SELECT count(*) FROM dead_letters"
    with bench.connection() as connection:
        await until(lambda: connection.execute(query).fetchone() == (bench.dead_on_purpose,))


async def worker_paused(bench: Bench) -> None:
    """D07: stopped in the middle of a transaction, beyond its messages' visibility; another does them, and it wakes to find them done."""
    sleeper = bench.workers[0]
    trap = bench.network(sleeper).postgres.trap(
        b"COMMIT", Hold.BEFORE, after=b"INSERT INTO processed_messages"
    )
    async with asyncio.timeout(SPRUNG_WITHIN_S):
        await trap.sprung.wait()
    sleeper.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(BACK_AFTER.total_seconds() + 1)
    finally:
        sleeper.send(signal.SIGCONT)
        bench.network(sleeper).heal()


async def postgres_flapping(bench: Bench) -> None:
    """P02, I7: connections break every third of a second for longer than a message's attempts would last."""
    for _ in range(30):
        for network in bench.networks.values():
            network.postgres.reset_all()
        await asyncio.sleep(0.3)


async def connections_forgotten(bench: Bench) -> None:
    """P02: a firewall forgets every connection to the database, so that none is ever closed."""
    for network in bench.networks.values():
        network.postgres.forget()
    await bench.load.send(3)
    await asyncio.sleep(1.0)


async def started_without_servers(bench: Bench) -> None:
    """R01, P01: the services start with nothing that they need, and go on once it is there."""
    services = (bench.rest, *bench.workers)
    for service in services:
        await service.kill()
        for proxy in bench.network(service).all:
            proxy.refusing = True
    for service in services:
        await service.start()
    await asyncio.sleep(0.5)
    for service in services:
        bench.network(service).heal()


async def worker_paused_for_long(bench: Bench) -> None:
    """D07: longer than the server lets a transaction lie and a message stay invisible."""
    sleeper = bench.workers[0]
    trap = bench.network(sleeper).sqs.trap(b"AmazonSQS.SendMessageBatch", Hold.BEFORE)
    async with asyncio.timeout(SPRUNG_WITHIN_S):
        await trap.sprung.wait()
    sleeper.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(40)
    finally:
        sleeper.send(signal.SIGCONT)
        bench.network(sleeper).heal()


SCENARIOS: Sequence[Scenario] = (
    Scenario("rest-api killed at its commit", "D03, I1, I2", rest_api_killed),
    Scenario("relay killed at its moments", "D01", relay_killed, promised_s=35.0),
    Scenario("worker killed at its moments", "D01, D02", worker_killed, promised_s=35.0),
    Scenario("postgres restarted", "P01", postgres_restarted),
    Scenario("redis stopped", "R01", stopped("redis", 1)),
    Scenario("queue killed", "D09", stopped("queue", 1)),
    Scenario("every message twice, out of order", "D02, D03", delivered_twice),
    Scenario("connections reset", "P02", connections_reset),
    Scenario("answers cut", "P02", answers_cut),
    Scenario("slow network", "X01", slow_network),
    Scenario("everything swallowed", "P02, X01", swallowed(1.0, "postgres", "redis", "sqs")),
    Scenario("a handler hangs", "X01", handler_hangs),
    Scenario("a handler always fails", "D12, I7", handler_always_fails, takes_minutes=1),
    Scenario("poison", "D12", poison),
    Scenario("worker paused", "D07", worker_paused),
    Scenario("started without servers", "R01, P01", started_without_servers, takes_minutes=1),
    Scenario("connections forgotten", "P02", connections_forgotten, takes_minutes=1),
    Scenario("postgres flapping", "P02, I7", postgres_flapping, takes_minutes=1),
    Scenario("worker paused for long", "D07", worker_paused_for_long, takes_minutes=4),
    Scenario(
        "everything swallowed for long", "P02", swallowed(20.0, "postgres", "redis", "sqs"), takes_minutes=4
    ),
    Scenario("redis stopped for a minute", "R01", stopped("redis", 60), takes_minutes=15),
    Scenario("queue stopped for a minute", "D09", stopped("queue", 60), takes_minutes=15),
    Scenario("postgres stopped for a minute", "P01", stopped("postgres", 60), takes_minutes=15),
)

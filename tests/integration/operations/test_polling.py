"""Polling, against PostgreSQL: by one worker at a time, from where the last look ended, with nothing lost or published twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest

from devops_mcp.adapters.base import Delivery, Origin, Outside
from devops_mcp.events.model import Event
from devops_mcp.models.errors import UpstreamRateLimited, UpstreamUnavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.polling import PollerStatus
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import DeliveryOutcome, EventIntake
from devops_mcp.operations.integrations import Integration, Integrations, Polling, open_integrations
from devops_mcp.operations.polling import LOOK_AGAIN_S, MAX_ASKED_S, MAX_BACKOFF_S, Look, PollRunner
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.events import Events
from devops_mcp.resilience.breaker import CircuitOpen
from support.polled import EVERY, PolledSystem
from support.tenants import add_tenant
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery

TENANT = DEFAULT_TENANT_ID
OFTEN = EVERY.total_seconds()


@dataclass
class Bench:
    """A system, and the workers that poll it, each with its own runner."""

    system: PolledSystem
    integrations: Integrations
    integration: Integration
    worker: Database
    superuser_url: str
    metrics: Metrics
    runner: PollRunner

    @property
    def polling(self) -> Polling:
        return self.integration.pollings[0]

    def another_worker(self, random: float = 0.5) -> PollRunner:
        return PollRunner(self.worker, self.integrations, Metrics(), random_=lambda: random)

    async def claimed(self, runner: PollRunner | None = None) -> Look:
        look = await (runner or self.runner).claim(self.integration, self.polling)
        assert isinstance(look, Look), f"not due for another {look} s"
        return look

    async def poll(self, runner: PollRunner | None = None) -> float:
        """A whole turn; the seconds until the next one, which is due at once nevertheless."""
        runner = runner or self.runner
        look = await self.claimed(runner)
        try:
            wait_s = await runner.make(look)
        except Exception as error:  # noqa: BLE001 - as the worker's loop does
            wait_s = await runner.fail(look, error)
        await self.run("UPDATE pollers SET next_at = now()")
        return wait_s

    async def run(self, query: str) -> list[tuple]:
        async with await psycopg.AsyncConnection.connect(self.superuser_url) as connection:
            cursor = await connection.execute(query)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def published(self) -> list[str]:
        """What reached the worker's queue, in order: an event and its message, or neither (I4)."""
        rows = await self.run(
            """
            SELECT e.event ->> 'title' FROM events AS e FULL JOIN outbox AS o ON (o.message::jsonb ->> 'event_id')::uuid = e.id
            ORDER BY e.id
            """
        )
        return [row[0] for row in rows]

    async def state(self):
        async with self.worker.transaction(TENANT) as tx:
            [state] = await tx.pollers.states()
        return state


@pytest.fixture
async def bench(database) -> AsyncIterator[Bench]:
    system, metrics = PolledSystem(), Metrics()
    async with (
        open_database(database.worker_url, pool_size=6, application="test") as worker,
        open_integrations((), {}, Outside()) as integrations,
    ):
        runner = PollRunner(worker, integrations, metrics, random_=lambda: 0.5)
        integration = system.integration()
        yield Bench(system, integrations, integration, worker, database.superuser_url, metrics, runner)


async def test_of_many_workers_one_looks_and_the_others_wait_for_their_turn(bench):
    bench.system.happened = ["one"]
    workers = [bench.another_worker() for _ in range(6)]
    claims = await asyncio.gather(*(worker.claim(bench.integration, bench.polling) for worker in workers))
    looks = [(worker, look) for worker, look in zip(workers, claims, strict=True) if isinstance(look, Look)]
    [(worker, look)] = looks
    assert all(0 < wait <= LOOK_AGAIN_S for wait in claims if not isinstance(wait, Look))
    await worker.make(look)
    waits = [await worker.claim(bench.integration, bench.polling) for worker in workers]
    assert all(OFTEN / 2 < wait <= OFTEN * 1.1 for wait in waits)
    assert (bench.system.cursors, await bench.published()) == ([0], ["one"])


async def test_each_look_begins_where_the_last_one_ended_whichever_worker_makes_it(bench):
    bench.system.happened = ["one", "two"]
    await bench.poll()
    bench.system.happened += ["three"]
    await bench.poll(bench.another_worker())
    await bench.poll(bench.another_worker())
    assert bench.system.cursors == [0, 2, 3]
    assert await bench.published() == ["one", "two", "three"]
    assert (await bench.state()).events == 3


async def test_a_worker_killed_between_look_and_commit_repeats_nothing_and_leaves_nothing_out(bench):
    """D01, D07: another takes over when the lease is over, and who wakes late writes nothing."""
    bench.system.happened = ["one", "two"]
    late = await bench.claimed()
    held = await bench.another_worker().claim(bench.integration, bench.polling)
    assert isinstance(held, float)
    await bench.run("UPDATE pollers SET lease_until = now()")
    bench.system.happened += ["three"]
    await bench.poll(bench.another_worker())
    bench.system.happened += ["four"]
    assert await bench.runner.make(late) == LOOK_AGAIN_S
    assert await bench.published() == ["one", "two", "three"]
    await bench.poll(bench.another_worker())
    assert bench.system.cursors == [0, 0, 3]
    assert await bench.published() == ["one", "two", "three", "four"]
    assert bench.metrics.registry.get_sample_value(
        "devops_mcp_polls_total", {"system": "ci", "poller": "builds", "outcome": "lost"}
    )


async def test_what_webhook_and_poll_both_tell_is_one_event_whichever_comes_first(bench):
    def parse(given: Delivery, origin: Origin) -> tuple[Event, ...]:
        return (bench.system.event(origin, json.loads(given.body), given.received_at),)

    async def send(name: str) -> DeliveryOutcome:
        source = replace(SOURCE, parse=parse)
        return (await intake.receive("ci", source, ORIGIN, (SECRET,), delivery(name, id_=name))).outcome

    intake = EventIntake(bench.worker, Metrics())
    assert await send("one") is DeliveryOutcome.ACCEPTED
    bench.system.happened = ["one", "two"]
    await bench.poll()
    assert await send("two") is DeliveryOutcome.DUPLICATE
    assert await send("three") is DeliveryOutcome.ACCEPTED
    assert await bench.published() == ["one", "two", "three"]
    assert (await bench.state()).events == 1


async def test_a_commit_that_fails_moves_neither_cursor_nor_events(bench, monkeypatch):
    """I4: at whatever point the transaction ends."""
    bench.system.happened = ["one"]
    for where, name in ((Events, "accept_all"), (PollRunner, "_note")):
        look = await bench.claimed()
        with monkeypatch.context() as broken:
            broken.setattr(where, name, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await bench.runner.make(look)
        assert await bench.published() == []
        await bench.runner.release(look)
    await bench.poll(bench.another_worker())
    assert (bench.system.cursors, await bench.published()) == ([0, 0, 0], ["one"])


async def test_what_is_found_twice_is_published_once_and_what_cannot_be_stored_holds_nothing_up(bench):
    bench.system.happened = ["one", "nul \x00", "two", "one"]
    await bench.poll()
    await bench.run("UPDATE pollers SET cursor = '{}'")
    bench.system.happened += ["three"]
    await bench.poll()
    assert await bench.published() == ["one", "two", "three"]
    assert (await bench.state()).events == 3


async def test_while_there_is_more_the_next_look_follows_at_once_and_then_as_the_system_asks(bench):
    bench.system.happened, bench.system.page = ["one", "two"], 1
    assert await bench.poll() == 0.0
    assert await bench.poll() == pytest.approx(OFTEN * 1.05)
    bench.system.pause = timedelta(seconds=300)
    assert await bench.poll() == pytest.approx(300 * 1.05)


async def test_a_system_that_fails_is_asked_ever_less_often_until_it_answers_again(bench):
    """X01"""
    bench.system.error = UpstreamUnavailable("ci answered 503")
    waits = [await bench.poll(bench.another_worker(random)) for random in (0.0, 0.999, 0.0, 0.999)]
    assert waits == pytest.approx([OFTEN / 2, OFTEN / 2 + 0.999 * OFTEN * 2, OFTEN / 2, OFTEN * 8.492])
    failing = await bench.state()
    assert (failing.status, failing.failures, failing.error_code, failing.error) == (
        PollerStatus.FAILING,
        4,
        "upstream_unavailable",
        "ci answered 503",
    )
    await bench.run("UPDATE pollers SET failures = 10000")
    assert await bench.poll(bench.another_worker(0.999)) == pytest.approx(OFTEN / 2 + 0.999 * MAX_BACKOFF_S)
    bench.system.error, bench.system.happened = None, ["one"]
    assert await bench.poll() == pytest.approx(OFTEN * 1.05)
    well = await bench.state()
    assert (well.status, well.failures, well.error) == (PollerStatus.OK, 0, None)
    assert await bench.published() == ["one"]


REFUSALS: list[tuple[Exception, float, str]] = [
    (UpstreamRateLimited("slower", retry_after_s=600), 600, "upstream_rate_limited"),
    (UpstreamRateLimited("tomorrow", retry_after_s=86_400), MAX_ASKED_S, "upstream_rate_limited"),
    (CircuitOpen("left alone", retry_after_s=120), 120, "circuit_open"),
    (TimeoutError(), OFTEN / 2, "deadline_exceeded"),
    (KeyError("a fault of ours"), OFTEN / 2, "internal"),
]


async def test_a_system_is_left_alone_as_long_as_it_asks_within_a_cap(bench):
    for error, at_least, code in REFUSALS:
        bench.system.error = error
        wait_s = await bench.poll()
        state = await bench.state()
        assert at_least <= wait_s <= max(at_least * 1.1, OFTEN * 2)
        assert (state.error_code, state.failures) == (code, 1)
        assert "a fault of ours" not in str(state.error)
        await bench.run("UPDATE pollers SET failures = 0")


async def test_a_suspended_tenant_is_not_polled_and_goes_on_where_it_was(bench, database):
    bench.system.happened = ["one"]
    await bench.poll()
    bench.system.happened += ["two"]
    look = await bench.claimed()
    await bench.run("UPDATE tenants SET suspended_at = now()")
    assert await bench.runner.make(look) == LOOK_AGAIN_S
    await bench.runner.release(look)
    assert await bench.runner.claim(bench.integration, bench.polling) == OFTEN
    assert await bench.published() == ["one"]
    assert "devops_mcp_poll_lag_seconds{" not in bench.metrics.render().decode()
    await bench.run("UPDATE tenants SET suspended_at = NULL")
    await bench.poll()
    assert await bench.published() == ["one", "two"]


async def test_a_tenant_that_there_is_not_is_not_polled_and_each_has_its_own_cursor(bench, database):
    """T02"""
    other = new_id()
    bench.system.happened = ["one"]
    theirs = bench.system.integration(other)
    assert await bench.runner.claim(theirs, theirs.pollings[0]) == OFTEN
    add_tenant(database, other)
    await bench.poll()
    look = await bench.runner.claim(theirs, theirs.pollings[0])
    assert isinstance(look, Look)
    await bench.runner.make(look)
    assert bench.system.cursors == [0, 0]
    tenants = await bench.run("SELECT DISTINCT tenant_id FROM events")
    assert {row[0] for row in tenants} == {TENANT, other}


async def test_another_system_under_the_same_name_is_begun_with_anew(bench):
    bench.system.happened = ["one", "two"]
    await bench.poll()
    bench.integration = replace(bench.integration, options={"base_url": "https://another.example.com"})
    await bench.poll()
    bench.integration = replace(bench.integration, options={**bench.integration.options, "limit": 5})
    await bench.poll()
    assert bench.system.cursors == [0, 0, 2]


async def test_metrics_tell_how_polls_end_what_they_find_and_how_old_the_picture_is(bench):
    bench.system.happened = ["one", "two"]
    await bench.poll()
    bench.system.error = UpstreamUnavailable("down")
    await bench.poll()
    await bench.run(
        "UPDATE pollers SET ok_at = now() - interval '1 hour', next_at = now() + interval '1 hour'"
    )
    await bench.runner.claim(bench.integration, bench.polling)
    value = bench.metrics.registry.get_sample_value
    of = {"system": "ci", "poller": "builds"}
    assert value("devops_mcp_polls_total", {**of, "outcome": "ok"}) == 1
    assert value("devops_mcp_polls_total", {**of, "outcome": "upstream_unavailable"}) == 1
    assert value("devops_mcp_polled_events_total", of) == 2
    lag = value("devops_mcp_poll_lag_seconds", {"integration": "ci-prod", "poller": "builds"})
    assert lag == pytest.approx(3_600, abs=60)

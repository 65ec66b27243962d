"""Facts on their lines of time, against PostgreSQL: whatever the order of arrival, what was so at a time is the same."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import EventReceived
from devops_mcp.events.model import AlertEvent, DeploymentEvent, Event
from devops_mcp.models.errors import Forbidden, InvalidInput, NotFound
from devops_mcp.models.facts import LATEST_BEGUN, Fact, FactQuery
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.pages import Order
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventProcessor
from devops_mcp.operations.facts import FactService
from devops_mcp.repositories.database import Database, open_database
from devops_mcp.repositories.events import Acceptance

TENANT = DEFAULT_TENANT_ID
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ME = Principal(id=new_id(), tenant_id=TENANT, kind=PrincipalKind.AGENT, name="me", grants=("events:read",))


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def deployed(
    minute: int, version: str, *, service: str = "checkout", failed: bool = False
) -> DeploymentEvent:
    return DeploymentEvent(
        **_common(minute), type="deployment.finished", service=service, environment="production", version=version,
        state="success", failed=failed,
    )  # fmt: skip


def alert(minute: int, *, fired: bool, fingerprint: str = "f1") -> AlertEvent:
    type_ = "alert.fired" if fired else "alert.resolved"
    return AlertEvent(**_common(minute), type=type_, name="HighLatency", fingerprint=fingerprint)


def _common(minute: int) -> dict:
    return {
        "id": new_id(), "tenant_id": TENANT, "system": "ci", "source": "ci-prod", "subject": "acme/shop",
        "title": f"at {minute}", "occurred_at": at(minute),
    }  # fmt: skip


@dataclass
class Bench:
    database: Database
    processor: EventProcessor
    facts: FactService

    async def arrive(self, *events: Event) -> list[EventReceived]:
        """Let events arrive and be processed together."""
        async with self.database.transaction(TENANT) as tx:
            for event in events:
                await tx.events.accept(Acceptance.of([event], [f"id:{event.id}"], b"{}"))
        messages = [EventReceived(id=new_id(), tenant_id=TENANT, event_id=event.id) for event in events]
        await self.processor.process(TENANT, messages)
        return messages

    async def so(self, *, limit: int = 20, **query) -> list[Fact]:
        page = await self.facts.page(ME, FactQuery(**query), order=LATEST_BEGUN, limit=limit)
        return list(page.items)

    async def version(self, **query) -> str | None:
        found = await self.so(predicate="deployed", subject="checkout@production", **query)
        assert len(found) <= 1
        return str(found[0].value["version"]) if found else None


@asynccontextmanager
async def a_bench(database, redis_url) -> AsyncIterator[Bench]:
    async with (
        open_database(database.worker_url, pool_size=4, application="worker") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
    ):
        processor = EventProcessor(opened, Notices(redis, Metrics()), embeds=False)
        yield Bench(opened, processor, FactService(opened))


@pytest.fixture
async def bench(database, redis_url) -> AsyncIterator[Bench]:
    async with a_bench(database, redis_url) as opened:
        yield opened


async def test_what_was_deployed_before_the_alert_is_exact(bench):
    firing = alert(30, fired=True)
    await bench.arrive(deployed(10, "4.1"), deployed(29, "4.2"), firing, deployed(31, "4.1"))
    [before] = await bench.so(predicate="deployed", before_event=firing.id)
    assert (before.subject, before.value["version"]) == ("checkout@production", "4.2")
    assert (before.valid_from, before.valid_until) == (at(29), at(31))
    assert [await bench.version(as_of=at(m)) for m in (9, 10, 28, 29, 31)] == [
        None,
        "4.1",
        "4.1",
        "4.2",
        "4.1",
    ]
    assert await bench.version() == "4.1"


async def test_right_before_an_event_is_not_at_its_time(bench):
    firing = alert(30, fired=True)
    await bench.arrive(deployed(10, "4.1"), deployed(30, "4.2"), firing)
    assert await bench.version(before_event=firing.id) == "4.1"
    assert await bench.version(as_of=at(30)) == "4.2"


async def test_a_failed_deployment_takes_nothings_place(bench):
    await bench.arrive(deployed(10, "4.1"), deployed(20, "4.2", failed=True))
    assert await bench.version() == "4.1"


async def test_a_resolved_alert_no_longer_fires_even_where_its_end_was_heard_of_first(bench):
    await bench.arrive(alert(40, fired=False))
    await bench.arrive(alert(30, fired=True))
    [fact] = await bench.so(predicate="alert", as_of=at(35))
    assert (fact.valid_from, fact.valid_until) == (at(30), at(40))
    assert await bench.so(predicate="alert", as_of=at(40)) == []
    await bench.arrive(alert(50, fired=True))
    assert [f.valid_from for f in await bench.so(predicate="alert")] == [at(50)]


async def test_a_message_that_comes_again_tells_nothing_new(bench):
    messages = await bench.arrive(deployed(10, "4.1"))
    await bench.processor.process(TENANT, messages)
    await bench.processor.process(TENANT, [messages[0].model_copy(update={"id": new_id()})])
    assert len(await bench.so(predicate="deployed", history=True)) == 1


def expected(events: Sequence[DeploymentEvent]) -> list[tuple[str | None, datetime, datetime | None]]:
    """The line of time, from the events in their order."""
    ordered = sorted(events, key=lambda event: (event.occurred_at, event.id))
    ends = [event.occurred_at for event in ordered[1:]] + [None]
    return [(e.version, e.occurred_at, end) for e, end in zip(ordered, ends, strict=True)]


@pytest.mark.parametrize("seed", range(3))
async def test_any_order_of_arrival_gives_the_same_line_of_time(bench, seed):
    """Batches of any size, three workers at once, two services."""
    chance = random.Random(seed)
    services = {
        name: [deployed(minute, f"{name}-{minute}", service=name) for minute in range(0, 60, 2)]
        for name in ("checkout", "billing")
    }
    waiting: list[Event] = [event for events in services.values() for event in events]
    chance.shuffle(waiting)
    while waiting:
        batches = []
        for _ in range(3):
            size = chance.randint(1, 8)
            batches.append(waiting[:size])
            del waiting[:size]
        await asyncio.gather(*(bench.arrive(*batch) for batch in batches if batch))
    for name, events in services.items():
        found = await bench.so(subject=f"{name}@production", predicate="deployed", history=True, limit=100)
        line = [(fact.value["version"], fact.valid_from, fact.valid_until) for fact in reversed(found)]
        assert line == expected(events)


async def test_pages_follow_one_another_and_a_star_stands_for_anything(bench):
    await bench.arrive(
        *(deployed(n, "1", service=f"service_{n}") for n in range(7)), deployed(9, "1", service="other")
    )
    query = FactQuery(predicate="deployed", subject="service_*@production")
    for sort, expected in (("-valid_from", range(6, -1, -1)), ("valid_from", range(7))):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await bench.facts.page(ME, query, order=Order.of(sort, cursor), limit=3)
            seen += [fact.subject for fact in page.items]
            cursor = page.next_cursor
        assert seen == [f"service_{n}@production" for n in expected]
    assert await bench.so(subject="serviceX*@production") == [], "an underscore stands for itself"


async def test_who_may_not_read_events_reads_no_facts_and_bad_questions_are_refused(bench):
    nobody = ME.model_copy(update={"grants": ("contexts:read",)})
    with pytest.raises(Forbidden):
        await bench.facts.page(nobody, FactQuery(), order=LATEST_BEGUN, limit=20)
    with pytest.raises(NotFound):
        await bench.so(before_event=new_id())
    with pytest.raises(InvalidInput):
        await bench.so(before_event=new_id(), as_of=NOON)

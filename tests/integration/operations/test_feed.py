"""The feed of processed events: each once to each subscriber, with Redis and without."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from devops_mcp.cache.notices import Notices
from devops_mcp.cache.redis import open_redis
from devops_mcp.events.messages import EventReceived
from devops_mcp.models.ids import DEFAULT_TENANT_ID
from devops_mcp.observability.metrics import Metrics
from devops_mcp.operations.events import EventIntake, EventProcessor
from devops_mcp.operations.feed import EventFeed, FeedTimes, Subscription
from devops_mcp.repositories.database import Database, open_database
from support.webhooks import ORIGIN, SECRET, SOURCE, delivery, failed_build

TENANT = DEFAULT_TENANT_ID
NOBODY = "redis://127.0.0.1:1/0"
NEVER = FeedTimes(listening_s=3_600, deaf_s=3_600)
OFTEN = FeedTimes(listening_s=0.05, deaf_s=0.05)


@pytest.fixture
async def worker(database) -> AsyncIterator[Database]:
    async with open_database(database.worker_url, pool_size=4, application="worker") as opened:
        yield opened


@asynccontextmanager
async def feeding(database, redis_url: str, times: FeedTimes, **options: int) -> AsyncIterator[EventFeed]:
    async with (
        open_database(database.mcp_url, pool_size=4, application="mcp") as opened,
        open_redis(redis_url, command_timeout_s=2) as redis,
        EventFeed(opened, Notices(redis, Metrics()), Metrics(), times=times, **options).running() as feed,
        asyncio.timeout(60),
    ):
        yield feed


async def happen(worker: Database, redis_url: str, *numbers: int) -> list[UUID]:
    """Let failed builds with these numbers be received and processed; the ids of their events."""
    receipts = [
        await EventIntake(worker, Metrics()).receive(
            "ci", SOURCE, ORIGIN, (SECRET,), delivery(failed_build(str(number)), id_=str(number))
        )
        for number in numbers
    ]
    events = [event_id for receipt in receipts for event_id in receipt.event_ids]
    messages = [EventReceived(id=event_id, tenant_id=TENANT, event_id=event_id) for event_id in events]
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        await EventProcessor(worker, Notices(redis, Metrics()), embeds=False).process(TENANT, messages)
    return events


async def take(subscription: Subscription, count: int) -> list[UUID]:
    return [(await anext(subscription)).event_id for _ in range(count)]


def everything(notice: object) -> bool:
    return True


async def test_a_subscriber_hears_what_happens_from_then_on_each_event_once(database, worker, redis_url):
    await happen(worker, redis_url, 1)
    async with (
        feeding(database, redis_url, OFTEN) as feed,
        feed.subscribe(TENANT, everything) as subscription,
    ):
        expected = await happen(worker, redis_url, 2, 3) + await happen(worker, redis_url, 4)
        assert sorted(await take(subscription, 3)) == expected
        # Several looks into PostgreSQL later nothing has come twice.
        [last] = await happen(worker, redis_url, 5)
        assert await take(subscription, 1) == [last]


async def test_notices_arrive_through_redis_alone(database, worker, redis_url):
    async with (
        feeding(database, redis_url, NEVER) as feed,
        feed.subscribe(TENANT, everything) as subscription,
    ):
        await _listening(redis_url)
        expected = await happen(worker, redis_url, 1, 2)
        assert sorted(await take(subscription, 2)) == expected


async def test_while_redis_is_down_events_come_from_postgresql(database, worker):
    """R01"""
    async with feeding(database, NOBODY, OFTEN) as feed, feed.subscribe(TENANT, everything) as subscription:
        expected = await happen(worker, NOBODY, 1, 2)
        assert sorted(await take(subscription, 2)) == expected
        [later] = await happen(worker, NOBODY, 3)
        assert await take(subscription, 1) == [later]


async def test_what_was_said_while_the_connection_was_lost_is_caught_up(database, worker, redis_url):
    async with (
        feeding(database, redis_url, NEVER) as feed,
        feed.subscribe(TENANT, everything) as subscription,
    ):
        await _listening(redis_url)
        expected = await happen(worker, NOBODY, 1)
        async with open_redis(redis_url, command_timeout_s=2) as control:
            taking = asyncio.create_task(take(subscription, 1))
            while (
                not taking.done()
            ):  # the first to be cut may be a listener of the test before, which has not gone yet
                await control.client_kill_filter(_type="pubsub")
                await asyncio.wait({taking}, timeout=0.5)
        assert taking.result() == expected


async def test_subscribers_get_what_they_match_and_no_other_tenants_events(database, worker, redis_url):
    """I9"""
    another = UUID("00000000-0000-7000-8000-000000000002")
    async with (
        feeding(database, redis_url, OFTEN) as feed,
        feed.subscribe(TENANT, lambda notice: notice.title.startswith("CI #2 ")) as picky,
        feed.subscribe(another, everything) as foreign,
    ):
        [_, second] = await happen(worker, redis_url, 1, 2)
        assert await take(picky, 1) == [second]
        foreign.end()
        assert [notice async for notice in foreign] == []


async def test_a_subscriber_that_does_not_keep_up_is_marked_lost_and_ends(database, worker, redis_url):
    async with (
        feeding(database, redis_url, OFTEN, waiting_limit=3) as feed,
        feed.subscribe(TENANT, everything) as slow,
        feed.subscribe(TENANT, everything) as quick,
    ):
        reading = asyncio.create_task(take(quick, 5))
        for number in range(5):
            await happen(worker, redis_url, number)
        await reading
        assert [notice async for notice in slow] == []
    assert (slow.lost, quick.lost) == (True, False)


async def test_subscriptions_end_with_the_feed(database, redis_url):
    async with feeding(database, redis_url, OFTEN) as feed:
        subscribed = feed.subscribe(TENANT, everything)
        subscription = await subscribed.__aenter__()
    assert [notice async for notice in subscription] == []
    await subscribed.__aexit__(None, None, None)


async def test_an_interrupted_database_loses_no_event(database, worker, administration):
    """P01"""
    async with feeding(database, NOBODY, OFTEN) as feed, feed.subscribe(TENANT, everything) as subscription:
        administration.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'mcp'",
            (database.name,),
        )
        expected = await happen(worker, NOBODY, 1)
        assert await take(subscription, 1) == expected


async def _listening(redis_url: str) -> None:
    """Wait until somebody is subscribed."""
    async with open_redis(redis_url, command_timeout_s=2) as redis:
        while not any(count for _, count in await redis.pubsub_numsub("devops-mcp:notices")):
            await asyncio.sleep(0.01)

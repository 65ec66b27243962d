"""Notices between replicas, over a real Redis."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from devops_mcp.cache.channel import Gap
from devops_mcp.cache.notices import CHANNEL, Notice, Notices
from devops_mcp.cache.redis import open_redis, ping
from devops_mcp.models.errors import Unavailable
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.observability.metrics import Metrics

NOBODY = "redis://127.0.0.1:1/0"


def a_notice(title: str = "CI failed on main") -> Notice:
    event_id = new_id()
    return Notice(
        tenant_id=DEFAULT_TENANT_ID,
        event_id=event_id,
        type="build.finished",
        system="github",
        source="github",
        subject="acme/shop",
        title=title,
        uri=f"devops://events/{event_id}",
        occurred_at=datetime(2026, 11, 1, tzinfo=UTC),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def outcomes(metrics: Metrics) -> dict[str, float]:
    samples = [s for metric in metrics.registry.collect() for s in metric.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name == "devops_mcp_notices_total"}


async def test_every_listener_hears_every_notice(redis_url):
    notices = [a_notice("one"), a_notice("two")]
    async with (
        open_redis(redis_url, command_timeout_s=2) as redis,
        asyncio.timeout(60),
        aclosing(Notices(redis, Metrics()).listen()) as first,
        aclosing(Notices(redis, Metrics()).listen()) as second,
    ):
        assert [await anext(first), await anext(second)] == [Gap(listening=True), Gap(listening=True)]
        assert await Notices(redis, Metrics()).publish(notices)
        heard = [[await anext(listener) for _ in notices] for listener in (first, second)]
    assert heard == [notices, notices]


async def test_a_listener_that_lost_its_connection_learns_of_the_gap_and_goes_on(redis_url):
    async with open_redis(redis_url, command_timeout_s=2) as redis, asyncio.timeout(60):
        notices = Notices(redis, Metrics())
        async with aclosing(notices.listen()) as listener:
            assert await anext(listener) == Gap(listening=True)
            hearing = asyncio.ensure_future(anext(listener))
            await redis.client_kill_filter(_type="pubsub")
            assert await hearing == Gap(listening=False)
            assert await anext(listener) == Gap(listening=True)
            later = a_notice()
            await notices.publish([later])
            assert await anext(listener) == later


async def test_what_is_no_notice_of_ours_counts_as_a_gap(redis_url):
    async with open_redis(redis_url, command_timeout_s=2) as redis, asyncio.timeout(60):
        notices = Notices(redis, Metrics())
        async with aclosing(notices.listen()) as listener:
            await anext(listener)
            for body in (b'[{"tenant_id": 1}]', b"\xff\x00", b'[{"a":'):
                await redis.publish(CHANNEL, body)
                assert await anext(listener) == Gap(listening=True)


async def test_without_redis_publishing_says_so_and_a_listener_waits():
    """R01"""
    metrics = Metrics(CollectorRegistry())
    async with open_redis(NOBODY) as redis, asyncio.timeout(60):
        notices = Notices(redis, metrics)
        assert not await notices.publish([a_notice(), a_notice()])
        async with aclosing(notices.listen()) as listener:
            assert [await anext(listener), await anext(listener)] == [Gap(listening=False)] * 2
        with pytest.raises(Unavailable):
            await ping(redis)
    assert outcomes(metrics) == {"unpublished": 2.0}


async def test_a_redis_that_hangs_holds_up_one_publication_a_second_and_no_more(redis_url):
    now = 100.0
    async with (
        open_redis(redis_url, command_timeout_s=1) as redis,
        open_redis(redis_url, command_timeout_s=30) as control,
    ):
        notices = Notices(redis, Metrics(), monotonic=lambda: now)
        assert await notices.publish([a_notice()])
        await control.client_pause(60_000, all=False)  # whatever writes or publishes
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert not any([await notices.publish([a_notice()]) for _ in range(50)])
        assert loop.time() - started < 20, "one was waited for, and not fifty"
        await control.client_unpause()
        now += 1.1
        assert await notices.publish([a_notice()])

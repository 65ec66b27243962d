"""A channel that nobody listens to any more."""

import asyncio

from devops_mcp.cache.channel import Channel
from devops_mcp.cache.redis import open_redis

TIMES = 150
WITHIN_S = 30


async def test_a_listener_ends_when_it_is_cancelled_however_early(redis_url):
    """redis-py loses some of the cancellations that come while it connects; a service would then never stop."""

    async def listen(channel: Channel) -> None:
        async for _ in channel.hear():
            pass

    async with open_redis(redis_url) as redis:
        channel = Channel(redis, "test")
        for number in range(TIMES):
            listening = asyncio.create_task(listen(channel))
            await asyncio.sleep(0.01 * number / TIMES)
            listening.cancel()
            done, _ = await asyncio.wait([listening], timeout=WITHIN_S)
            assert done, f"still listening after {0.01 * number / TIMES:.4f} s and a cancellation"
            assert listening.cancelled()

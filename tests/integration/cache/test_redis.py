"""The client of Redis on the event loop that the services run on."""

import asyncio

import pytest
import uvloop
from redis.exceptions import RedisError

from devops_mcp.cache.redis import open_redis
from faults.proxy import a_fault_proxy


def test_a_connection_that_was_reset_is_reported_as_lost_and_made_anew(redis_url):
    """R01: with uvloop the write to it raises an error that is none of the client's own."""
    address, _, port = redis_url.rpartition(":")
    port, _, database = port.partition("/")

    async def talk() -> bool:
        async with (
            a_fault_proxy(int(port)) as proxy,
            open_redis(f"{address}:{proxy.port}/{database}", command_timeout_s=5) as redis,
        ):
            for _ in range(3):
                await redis.set("key", "value")
                assert proxy.reset_all() == 1
                await asyncio.sleep(0.05)  # that the loop has heard of it
                with pytest.raises(RedisError):
                    await redis.get("key")
            return await redis.get("key") == b"value"

    assert uvloop.run(talk())

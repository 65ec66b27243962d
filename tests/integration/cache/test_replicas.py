"""Messages from replica to replica over a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from devops_mcp.cache.redis import open_redis
from devops_mcp.cache.replicas import Replicas
from devops_mcp.cache.sealing import Seal
from devops_mcp.models.errors import Unavailable

KEY = b"k" * 32
NOBODY = "redis://127.0.0.1:1/0"


class Heard:
    """A replica that listens, and what it was told."""

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.listens = asyncio.Event()
        self.interrupted = asyncio.Event()

    async def resumed(self) -> None:
        self.listens.set()


@asynccontextmanager
async def listening(redis_url: str, key: bytes = KEY) -> AsyncIterator[Heard]:
    async with open_redis(redis_url, command_timeout_s=5) as redis, asyncio.timeout(60):
        heard = Heard(Replicas(redis, Seal([key])))
        async with heard.replicas.running(heard.messages.put_nowait, heard.interrupted.set, heard.resumed):
            await heard.listens.wait()
            yield heard


async def test_messages_arrive_in_order_and_the_sender_knows(redis_url):
    async with listening(redis_url) as one, listening(redis_url) as other:
        for number in range(50):
            assert await one.replicas.tell(other.replicas.own_id, b"%d" % number)
        assert [await other.messages.get() for _ in range(50)] == [b"%d" % number for number in range(50)]
        assert one.messages.empty()


async def test_who_is_not_there_is_known_at_once(redis_url):
    async with listening(redis_url) as one:
        async with listening(redis_url) as other:
            both = {one.replicas.own_id, other.replicas.own_id}
            assert await one.replicas.living(both) == both
        assert not await one.replicas.tell(other.replicas.own_id, b"are you there")
        assert await one.replicas.living(both) == {one.replicas.own_id}


async def test_what_was_sealed_with_another_key_is_not_heard(redis_url):
    async with listening(redis_url) as one, listening(redis_url, b"o" * 32) as stranger:
        assert await stranger.replicas.tell(one.replicas.own_id, b"forged")
        assert await one.replicas.tell(one.replicas.own_id, b"true")
        assert await one.messages.get() == b"true"


async def test_a_message_that_is_played_again_is_not_heard(redis_url):
    async with (
        listening(redis_url) as one,
        listening(redis_url) as other,
        open_redis(redis_url, command_timeout_s=5) as redis,
    ):
        channel = f"devops-mcp:replica:{other.replicas.own_id}"
        async with redis.pubsub() as spy:
            await spy.subscribe(channel)
            await one.replicas.tell(other.replicas.own_id, b"once")
            while (frame := await spy.get_message(timeout=30)) is None or frame["type"] != "message":
                pass
        assert b"once" not in frame["data"]
        await redis.publish(channel, frame["data"])
        await one.replicas.tell(other.replicas.own_id, b"twice")
        assert [await other.messages.get() for _ in range(2)] == [b"once", b"twice"]


async def test_a_cut_connection_is_told_and_made_again(redis_url):
    async with listening(redis_url) as one, open_redis(redis_url, command_timeout_s=5) as redis:
        one.listens.clear()
        await redis.client_kill_filter(_type="pubsub")
        await one.interrupted.wait()
        await one.listens.wait()
        assert await one.replicas.tell(one.replicas.own_id, b"again")
        assert await one.messages.get() == b"again"


async def test_without_redis_telling_fails_and_says_so():
    async with open_redis(NOBODY) as redis:
        with pytest.raises(Unavailable):
            await Replicas(redis, Seal([KEY])).tell("anybody", b"x")

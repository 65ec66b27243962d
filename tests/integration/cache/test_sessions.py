"""Session records and their messages in a real Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from redis.asyncio import Redis

from devops_mcp.cache.message_log import LogLimits, MessageLog, Position, Positions
from devops_mcp.cache.redis import open_redis
from devops_mcp.cache.sealing import Seal
from devops_mcp.cache.sessions import SessionRecord, SessionRecords
from devops_mcp.models.ids import new_id

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
OWNER = new_id()
RECORD = SessionRecord(
    tenant_id=UUID(int=1),
    principal_id=UUID(int=2),
    lasting=True,
    began_with={"clientInfo": {"name": "canary"}},
)


@asynccontextmanager
async def opened(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, command_timeout_s=2) as redis, asyncio.timeout(60):
        yield redis


def records(redis: Redis, owner: str, *keys: bytes) -> SessionRecords:
    return SessionRecords(redis, Seal(keys or (KEY,)), owner, lifetime_s=60)


async def test_a_record_is_found_by_every_replica_and_readable_to_none_but_them(redis_url):
    """K01"""
    async with opened(redis_url) as redis:
        assert await records(redis, "one").save("s", RECORD)
        found = await records(redis, "other").find("s")
        assert found is not None
        assert (found.owner, found.record) == ("one", RECORD)
        assert await records(redis, "stranger", OTHER_KEY).find("s") is None
        assert b"canary" not in (await redis.hget("devops-mcp:session:s", "record") or b"")
        assert 0 < await redis.ttl("devops-mcp:session:s") <= 60


async def test_a_record_that_was_moved_to_another_session_is_not_believed(redis_url):
    async with opened(redis_url) as redis:
        await records(redis, "one").save("s", RECORD)
        await redis.copy("devops-mcp:session:s", "devops-mcp:session:t")
        assert await records(redis, "one").find("t") is None


async def test_keys_can_be_exchanged_while_sessions_live(redis_url):
    async with opened(redis_url) as redis:
        await records(redis, "one", KEY).save("s", RECORD)
        assert await records(redis, "one", OTHER_KEY, KEY).find("s") is not None


async def test_one_replica_alone_takes_a_session_over_and_the_one_before_writes_no_more(redis_url):
    async with opened(redis_url) as redis:
        one, two, three = (records(redis, name) for name in ("one", "two", "three"))
        await one.save("s", RECORD)
        took = await asyncio.gather(two.take_over("s", "one"), three.take_over("s", "one"))
        assert sorted(took) == [False, True]
        assert not await one.save("s", RECORD)
        await one.forget("s")
        assert await one.find("s") is not None
        assert await one.prolong(["s", "unknown"]) == ({"unknown"}, {"s"})


async def test_messages_are_kept_by_stream_and_told_behind_a_position(redis_url):
    async with opened(redis_url) as redis:
        log, positions = MessageLog(redis, Seal([KEY])), Positions()
        async with log.running():
            told = [(positions.next(), f"{number}".encode()) for number in range(300)]
            for number, (position, body) in enumerate(told):
                log.append("s", OWNER, position, "ab"[number % 2], body)
            assert await log.after("s", told[100][0], "a") == [told[n] for n in range(102, 300, 2)]
            assert await log.after("t", told[0][0], "a") == []
            assert await log.last("s") == told[-1][0]
            await log.forget("s")
            assert await log.last("s") is None


async def test_only_so_many_messages_are_kept_and_none_too_large(redis_url):
    async with opened(redis_url) as redis:
        limits = LogLimits(messages=100, message_bytes=100)
        log, positions = MessageLog(redis, Seal([KEY]), limits), Positions()
        async with log.running():
            for number in range(1_000):
                log.append("s", OWNER, positions.next(), "a", b"%d" % number)
            log.append("s", OWNER, positions.next(), "a", b"x" * 101)
            kept = await log.after("s", Position(0, 0), "a")
        assert [body for _, body in kept] == [b"%d" % number for number in range(900, 1_000)]


async def test_only_so_many_bytes_of_a_session_are_kept_the_latest_of_it(redis_url):
    """S04"""
    async with opened(redis_url) as redis:
        log, positions = MessageLog(redis, Seal([KEY]), LogLimits(session_bytes=100_000)), Positions()
        async with log.running():
            for number in range(100):
                log.append("s", OWNER, positions.next(), "a", b"%d " % number + b"x" * 10_000)
            kept = [int(body.split()[0]) for _, body in await log.after("s", Position(0, 0), "a")]
            used = await redis.memory_usage("devops-mcp:messages:s", samples=0)
    assert kept == list(range(91, 100))
    assert used < 200_000


async def test_only_so_many_bytes_of_a_principals_sessions_are_kept_and_others_lose_nothing(redis_url):
    """S04: the session that has said nothing for longest goes first."""
    limits, other = LogLimits(session_bytes=100_000, owner_bytes=250_000), new_id()
    async with opened(redis_url) as redis:
        log, positions = MessageLog(redis, Seal([KEY]), limits), Positions()

        async def kept(session_id: str) -> int:
            return len(await log.after(session_id, Position(0, 0), "a"))

        async with log.running():
            for session_id, owner in (("t", other), ("s0", OWNER), ("s1", OWNER), ("s2", OWNER)):
                for _ in range(8):
                    log.append(session_id, owner, positions.next(), "a", b"x" * 10_000)
            before = [await kept(s) for s in ("s0", "s1", "s2", "t")]
            log.append("s0", OWNER, positions.next(), "a", b"x" * 10_000)
            log.append("s3", OWNER, positions.next(), "a", b"x" * 10_000)
            after = [await kept(s) for s in ("s0", "s1", "s2", "s3", "t")]
            for session_id in ("s0", "s2", "s3", "t"):
                await log.forget(session_id)
            log.append("s1", OWNER, positions.next(), "a", b"x")
            assert await kept("s1") == 1
    assert before == [8, 8, 8, 8]
    assert after == [9, 0, 8, 1, 8]


async def test_without_redis_nothing_waits():
    async with open_redis("redis://127.0.0.1:1/0") as redis, asyncio.timeout(60):
        log, positions = MessageLog(redis, Seal([KEY]), LogLimits(waiting_bytes=1_000)), Positions()
        async with log.running():
            for _ in range(10_000):
                log.append("s", OWNER, positions.next(), "a", b"x" * 100)
            await log.written()


@pytest.mark.parametrize("wall", [[5, 5, 5], [5, 4, 3], [5, 6, 7]])
def test_positions_grow_whatever_the_clock_does(wall):
    clock = iter(wall)
    positions = Positions(after=Position(5, 1), wall_ms=lambda: next(clock))
    given = [positions.next() for _ in wall]
    assert given == sorted(set(given))
    assert given[0] > Position(5, 1)

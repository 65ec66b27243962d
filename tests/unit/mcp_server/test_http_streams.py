"""Streams, their readers, and the ids of their events."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from devops_mcp.cache.message_log import Position
from mcp_server.transports.http_streams import (
    STANDALONE,
    Outgoing,
    Stream,
    event_id,
    name_of,
    read_event_id,
    request_of,
)

request_ids = st.one_of(st.integers(-(2**53), 2**53), st.text(st.characters(exclude_categories=["Cs"])))
numbers = st.integers(0, 10**15)


@given(request_ids, numbers, numbers)
def test_an_event_id_says_where_and_of_which_request(request_id, ms, number):
    written = event_id(Position(ms, number), name_of(request_id))
    assert written.isascii()
    assert written.isprintable()
    assert len(written) < 256
    read = read_event_id(written)
    assert read is not None
    assert read[0] == Position(ms, number)
    assert request_of(read[1]) in (request_id, None)
    if len(str(request_id)) < 20:
        assert request_of(read[1]) == request_id


@given(request_ids, request_ids)
def test_requests_have_streams_of_their_own(one, other):
    assert (name_of(one) == name_of(other)) == (one == other and type(one) is type(other))
    assert name_of(one) != STANDALONE


@given(st.text())
def test_any_text_is_an_event_id_or_is_not(text):
    read = read_event_id(text)
    if read is not None:
        request_of(read[1])


def message(number: int) -> Outgoing:
    return Outgoing(Position(number, 0), b"%d" % number, False)


async def test_what_waits_is_given_to_the_next_reader():
    stream = Stream("a")
    stream.put(message(1))
    with stream.read() as reader:
        assert await reader.next() == message(1)
        stream.put(message(2))
        assert await reader.next() == message(2)
        stream.end()
        assert await reader.next() is None


async def test_a_second_reader_sends_the_first_away():
    stream = Stream("a")
    with stream.read() as first:
        waiting = asyncio.create_task(first.next())
        await asyncio.sleep(0)
        with stream.read() as second:
            assert await waiting is None
            stream.put(message(1))
            assert await second.next() == message(1)
            assert stream.is_read
    assert not stream.is_read


async def test_without_a_reader_the_latest_messages_wait():
    stream = Stream("a", limit=3)
    for number in range(5):
        stream.put(message(number))
    with stream.read() as reader:
        assert [await reader.next() for _ in range(3)] == [message(2), message(3), message(4)]
    assert stream.overflowed


async def test_only_so_many_bytes_wait_for_a_reader_and_the_latest_whatever_its_size():
    """S04"""
    stream = Stream("r", max_bytes=100)
    for number in range(20):
        stream.put(Outgoing(Position(0, number), b"x" * 30, final=False))
    assert [message.position.number for message in stream.waiting] == [17, 18, 19]
    assert stream.overflowed
    with stream.read() as reader:
        assert (await reader.next()).position.number == 17
        stream.put(Outgoing(Position(0, 20), b"x" * 30, final=False))
        assert [message.position.number for message in stream.waiting] == [18, 19, 20]
        stream.put(Outgoing(Position(0, 21), b"x" * 500, final=True))
        assert [message.position.number for message in stream.waiting] == [21]

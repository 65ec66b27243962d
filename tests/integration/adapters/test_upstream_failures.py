"""How adapters call out when the system is slow, endless, broken or down."""

import asyncio
import gzip

import pytest
from starlette.responses import PlainTextResponse, Response

from devops_mcp.adapters.upstream import Upstream
from devops_mcp.models.errors import (
    UpstreamInvalid,
    UpstreamRejected,
    UpstreamUnavailable,
)
from devops_mcp.outbound.http import MAX_CONNECTIONS
from devops_mcp.resilience.breaker import Breaker, BreakerState, CircuitOpen
from devops_mcp.resilience.bulkhead import Bulkhead, BulkheadFull
from devops_mcp.resilience.policies import Policies
from support.clock import HandClock
from support.servers import (
    Answers,
    bad_gzip,
    cut,
    flood,
    garbage,
    hang,
    serve,
    serve_bytes,
    trickle,
    trickle_head,
)
from support.upstreams import ONCE, quick, upstream


@pytest.mark.parametrize("talk", [hang, trickle, trickle_head])
async def test_the_deadline_is_over_the_whole_answer(talk):
    """X01"""
    loop = asyncio.get_running_loop()
    async with serve_bytes(talk) as url, upstream(url, timeout_s=0.2) as system:
        begun = loop.time()
        with pytest.raises(UpstreamUnavailable, match="did not answer within"):
            await system.get("/")
        assert loop.time() - begun < 30


@pytest.mark.parametrize("talk", [garbage, cut, bad_gzip])
async def test_an_answer_that_is_not_http_is_an_outage(talk):
    async with serve_bytes(talk) as url, upstream(url) as system:
        with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
            await system.get("/")


async def test_nobody_listening_is_an_outage():
    async with serve(Answers(PlainTextResponse("x"))) as url:
        gone = url
    async with upstream(gone) as system:
        with pytest.raises(UpstreamUnavailable, match="cannot be reached: ConnectError"):
            await system.get("/")


@pytest.mark.parametrize(("size", "fits"), [(1_000, True), (1_001, False)])
async def test_an_answer_is_read_up_to_the_limit_and_not_a_byte_more(size, fits):
    async with serve(Answers(Response(b"x" * size))) as url, upstream(url, max_bytes=1_000) as system:
        if fits:
            assert len((await system.get("/")).body) == size
        else:
            with pytest.raises(UpstreamInvalid, match="more than 1000 bytes"):
                await system.get("/")


async def test_an_endless_answer_is_cut_off():
    """H04"""
    async with serve_bytes(flood) as url, upstream(url, max_bytes=1_000_000) as system:
        with pytest.raises(UpstreamInvalid, match="more than 1000000 bytes"):
            await system.get("/")


async def test_a_compressed_answer_counts_by_what_it_unpacks_to():
    bomb = gzip.compress(bytes(50_000_000))
    answers = Answers(Response(bomb, headers={"content-encoding": "gzip"}))
    async with serve(answers) as url, upstream(url, max_bytes=1_000_000) as system:
        with pytest.raises(UpstreamInvalid, match="more than 1000000 bytes"):
            await system.get("/")


async def test_failed_calls_leave_no_connection_behind():
    """X01, I11"""
    answered = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not answered.is_set():
            await hang(reader, writer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    policies = Policies(Breaker("shop", now=HandClock()), Bulkhead("shop", limit=100), ONCE)
    async with serve_bytes(talk) as url, upstream(url, policies, timeout_s=0.3) as system:
        calls = [asyncio.create_task(system.get("/")) for _ in range(MAX_CONNECTIONS)]
        assert all(
            isinstance(e, UpstreamUnavailable) for e in await asyncio.gather(*calls, return_exceptions=True)
        )
        answered.set()
        system.policies = quick()
        replies = await asyncio.gather(*(system.request("GET", "/", timeout_s=5) for _ in range(10)))

    assert {reply.body for reply in replies} == {b"ok"}


# Trying again.


async def test_a_read_is_tried_again_at_most_twice():
    answers = Answers(Response(status_code=503), Response(status_code=502), PlainTextResponse("at last"))
    async with serve(answers) as url, upstream(url) as system:
        assert (await system.get("/")).text() == "at last"
        answers.answers = [Response(status_code=503)]
        with pytest.raises(UpstreamUnavailable):
            await system.get("/")

    assert len(answers.requests) == 3 + 3


async def test_a_read_that_is_refused_is_not_tried_again():
    answers = Answers(Response(status_code=400))
    async with serve(answers) as url, upstream(url) as system:
        with pytest.raises(UpstreamRejected):
            await system.get("/")

    assert len(answers.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_is_sent_once_whatever_happens(method):
    answers = Answers(Response(status_code=503))
    async with serve(answers) as url, upstream(url) as system:
        with pytest.raises(UpstreamUnavailable):
            await system.request(method, "/", json={"a": 1})

    assert len(answers.requests) == 1


async def test_a_read_by_post_is_sent_again_with_its_body():
    answers = Answers(Response(status_code=503), PlainTextResponse("ok"))
    async with serve(answers) as url, upstream(url) as system:
        await system.request("POST", "/query", data={"query": "up"}, safe=True)

    assert answers.bodies == [b"query=up", b"query=up"]


async def test_attempts_share_one_deadline():
    async with (
        serve(Answers(Response(status_code=503, headers={"retry-after": "1"}))) as url,
        upstream(url, timeout_s=0.9) as system,
    ):
        with pytest.raises(UpstreamUnavailable, match="answered 503"):
            await system.get("/")
        assert system.policies.snapshot().retry.retries == 0


# One system that fails, and the others.


@pytest.mark.parametrize("talk", [hang, trickle])
async def test_a_system_that_hangs_opens_its_circuit_and_leaves_the_others_alone(talk):
    """X01"""
    async with (
        serve_bytes(talk) as bad_url,
        serve(Answers(PlainTextResponse("ok"))) as good_url,
        upstream(bad_url, quick("bad", retry=ONCE, limit=20), timeout_s=0.1) as bad,
        upstream(good_url, quick("good")) as good,
    ):
        outcomes = await asyncio.gather(*(bad.get("/") for _ in range(20)), return_exceptions=True)
        assert all(isinstance(outcome, UpstreamUnavailable) for outcome in outcomes)

        with pytest.raises(CircuitOpen):
            await bad.get("/")
        assert (await good.get("/")).text() == "ok"
        assert good.policies.snapshot().breaker.failures == 0


async def test_the_circuit_opens_at_half_of_twenty_calls_and_three_probes_close_it():
    """X01"""
    clock = HandClock()
    answers = Answers(*([PlainTextResponse("ok")] * 10), Response(status_code=500))
    async with serve(answers) as url, upstream(url, quick(retry=ONCE, clock=clock)) as system:
        for n in range(20):
            await system.get("/") if n < 10 else await failing(system)
        with pytest.raises(CircuitOpen) as caught:
            await system.get("/")
        assert len(answers.requests) == 20
        assert caught.value.retry_after_s == 15

        clock.advance(15)
        answers.answers = [PlainTextResponse("ok")]
        for _ in range(3):
            await system.get("/")
        assert system.policies.snapshot().breaker.state is BreakerState.CLOSED


async def failing(system: Upstream) -> None:
    with pytest.raises(UpstreamUnavailable):
        await system.get("/")


async def test_a_slow_system_holds_no_more_than_its_own_slots():
    """X01"""
    async with (
        serve_bytes(hang) as slow_url,
        serve(Answers(PlainTextResponse("ok"))) as good_url,
        upstream(slow_url, quick("slow", retry=ONCE, limit=2), timeout_s=60) as slow,
        upstream(good_url, quick("good")) as good,
    ):
        stuck = [asyncio.create_task(slow.get("/")) for _ in range(2)]
        async with asyncio.timeout(30):
            while slow.policies.snapshot().bulkhead.running < 2:
                await asyncio.sleep(0)

        with pytest.raises(BulkheadFull):
            await slow.get("/")
        assert (await good.get("/")).text() == "ok"
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)

    assert slow.policies.snapshot().bulkhead.running == 0

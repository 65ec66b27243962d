import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from devops_mcp.serving.limits import MIB, Limits
from support.raw_http import PATIENCE_S, site

LIMIT_S = 0.3
MACHINE_S = 30
"""What a machine that is shared may take on top."""
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def never_reads(request: Request) -> Response:
    await asyncio.Event().wait()
    return Response()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"\r\n", id="empty line"),
        pytest.param(b"GET /health/live HT", id="half a request line"),
        pytest.param(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-A: b", id="half a head"),
        pytest.param(
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345", id="half a body"
        ),
        pytest.param(
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
            id="unended chunks",
        ),
        pytest.param(
            b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345",
            id="half a body of a refused request",
        ),
    ],
)
async def test_a_request_that_is_not_whole_in_time_is_cut(sent: bytes) -> None:
    """H01"""
    async with site([Route("/length", length, methods=["POST"])], receive_timeout_s=LIMIT_S) as server:
        started = time.monotonic()
        async with server.connected() as peer:
            await peer.send(sent)
            await peer.rest()

        assert LIMIT_S * 0.9 <= time.monotonic() - started < LIMIT_S + MACHINE_S
        assert server.refused == ["late"]


async def test_trickling_does_not_lengthen_the_time() -> None:
    """H01"""
    async with site(receive_timeout_s=LIMIT_S) as server, server.connected() as peer:
        started = time.monotonic()

        async def trickle() -> None:
            for byte in b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 10_000:
                await peer.send(bytes([byte]))
                await asyncio.sleep(0.02)  # the attack itself

        trickling = asyncio.create_task(trickle())
        await peer.rest()
        trickling.cancel()

        assert time.monotonic() - started < LIMIT_S + MACHINE_S


async def test_a_trickled_second_request_on_a_kept_connection_is_cut_too() -> None:
    """H01"""
    async with site(receive_timeout_s=LIMIT_S) as server, server.connected() as peer:
        await peer.send(LIVE)
        await peer.until(b'{"status":"live"}')
        await peer.send(b"GET /hea")
        await peer.rest()

        assert server.refused == ["late"]


async def test_an_idle_connection_is_kept_for_its_own_time_and_then_closed() -> None:
    """H01"""
    limits = Limits(keep_alive_s=1.0)
    async with site(limits=limits, receive_timeout_s=0.5) as server, server.connected() as peer:
        begun = time.monotonic()
        await peer.send(LIVE)
        await peer.until(b'{"status":"live"}')
        await peer.rest()

        assert 0.9 <= time.monotonic() - begun < MACHINE_S
        assert server.refused == []


async def test_a_kept_connection_serves_further_requests_after_pauses() -> None:
    async with (
        site(limits=Limits(keep_alive_s=30), receive_timeout_s=0.5) as server,
        server.connected() as peer,
    ):
        for pause_s in (0.6, 0):  # longer than the receive deadline: that is what is tested
            await peer.send(LIVE)
            await peer.until(b'{"status":"live"}')
            await asyncio.sleep(pause_s)


async def test_silent_connections_by_the_hundred_lock_nobody_out() -> None:
    """H01"""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(site(limits=Limits(connections=50), receive_timeout_s=60))
        for _ in range(300):
            await stack.enter_async_context(server.connected())

        for _ in range(15):
            assert await server.is_live()

        assert server.refused.count("crowded_out") >= 250


async def test_a_long_answer_outlives_the_receive_deadline() -> None:
    """H01"""

    async def stream(request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            for number in range(4):
                yield b"data: %d\n\n" % number
                await asyncio.sleep(0.2)

        return StreamingResponse(events(), media_type="text/event-stream")

    async with site([Route("/events", stream)], receive_timeout_s=0.5) as server:
        answer = await server.ask(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        assert b"data: 3" in answer
        assert server.refused == []


async def test_a_slow_handler_is_not_taken_for_a_slow_client() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.7)
        return PlainTextResponse(str(len(await request.body())))

    body = b"x" * 500_000
    async with (
        site([Route("/slow", slow, methods=["POST"])], receive_timeout_s=0.5) as server,
        server.connected() as peer,
    ):
        peer.writer.write(
            b"POST /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(body)
            + body
        )

        assert (await peer.rest()).endswith(b"500000")


async def test_a_large_body_that_keeps_coming_may_take_longer() -> None:
    """H01"""
    limits = Limits(progress_bytes=1_000)
    async with (
        site([Route("/length", length, methods=["POST"])], limits, receive_timeout_s=1.0) as server,
        server.connected() as peer,
    ):
        await peer.send(
            b"POST /length HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n"
        )
        for _ in range(10):
            await peer.send(b"x" * 1_000)
            await asyncio.sleep(0.12)

        assert (await peer.rest()).endswith(b"10000")


async def test_an_idle_websocket_outlives_the_receive_deadline() -> None:
    """H01"""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    async with (
        site([WebSocketRoute("/ws", echo)], receive_timeout_s=0.5) as server,
        connect(f"ws://localhost:{server.port}/ws") as ws,
    ):
        await asyncio.sleep(0.7)
        await ws.send("still here")

        assert await ws.recv() == "still here"


async def test_a_client_that_never_reads_its_answer_is_cut() -> None:
    async def endless(request: Request) -> Response:
        async def blocks() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MIB
                await asyncio.sleep(0)  # uvicorn's send does not wait once the client is gone

        return StreamingResponse(blocks())

    async with (
        site([Route("/endless", endless)], Limits(stalled_s=0.3)) as server,
        server.connected() as peer,
    ):
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")

        async with asyncio.timeout(PATIENCE_S):
            while not server.refused:
                await asyncio.sleep(0.02)
        assert server.refused == ["stalled"]

import asyncio

import psutil
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from devops_mcp.serving import strict_json
from devops_mcp.serving.bodies import Room
from devops_mcp.serving.limits import MIB, BodyLimits
from support.raw_http import Site, site

HEAD = b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def parsed(request: Request) -> Response:
    return PlainTextResponse(type(strict_json.loads(await request.body())).__name__)


ROUTES = [
    Route("/length", length, methods=["POST"]),
    Route("/webhooks/github", length, methods=["POST"]),
    Route("/json", parsed, methods=["POST"]),
]


async def send_body(server: Site, path: bytes, size: int, *, chunked: bool) -> bytes:
    async with server.connected() as peer:
        framing = b"Transfer-Encoding: chunked\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n" % size
        peer.writer.write(HEAD % path + framing)
        answer = asyncio.create_task(peer.rest())
        try:
            for offset in range(0, size, 65_536):
                block = b"x" * min(65_536, size - offset)
                await peer.send(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
            await peer.send(b"0\r\n\r\n" if chunked else b"")
        except ConnectionError:
            pass  # the server need not read what it refused
        return await answer


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "limit"), [(b"/length", MIB), (b"/webhooks/github", 2 * MIB)])
async def test_a_body_at_the_limit_passes_and_one_byte_more_is_413(
    path: bytes, limit: int, chunked: bool
) -> None:
    """H04"""
    async with site(ROUTES, body_limits=BodyLimits(by_prefix=(("/webhooks/", 2 * MIB),))) as server:
        assert (await send_body(server, path, limit, chunked=chunked)).endswith(b"%d" % limit)
        refused = await send_body(server, path, limit + 1, chunked=chunked)

        assert refused.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"payload_too_large"' in refused


@pytest.mark.parametrize("chunked", [False, True])
async def test_ten_clients_with_ten_megabytes_each_leave_memory_flat(chunked: bool) -> None:
    """H04"""
    async with site(ROUTES) as server:
        await send_body(server, b"/length", 10 * MIB, chunked=chunked)
        before = psutil.Process().memory_info().rss
        answers = [await send_body(server, b"/length", 10 * MIB, chunked=chunked) for _ in range(10)]

        assert all(answer.startswith(b"HTTP/1.1 413 ") for answer in answers)
        assert psutil.Process().memory_info().rss - before < 50 * MIB


async def test_bodies_share_what_room_there_is_and_small_ones_need_none() -> None:
    """H04: nobody needs a credential to send a webhook, and whether it is signed is known once all of it is here."""
    release, kept = asyncio.Event(), 0

    async def keep(request: Request) -> Response:
        nonlocal kept
        size = len(await request.body())
        kept += 1
        await release.wait()
        return PlainTextResponse(str(size))

    limits = BodyLimits(default=2 * MIB, together=3 * MIB, wait_s=0.05)
    routes = [*ROUTES, Route("/kept", keep, methods=["POST"])]
    async with site(routes, body_limits=limits) as server, asyncio.timeout(60):
        first, second = (
            asyncio.create_task(send_body(server, b"/kept", MIB, chunked=chunked))
            for chunked in (False, True)
        )
        while kept < 2:
            await asyncio.sleep(0.01)
        refused = await send_body(server, b"/length", 3 * MIB // 2, chunked=False)
        small = await send_body(server, b"/length", 60_000, chunked=False)
        release.set()
        answers = [await first, await second]
        after = [await send_body(server, b"/length", 3 * MIB // 2, chunked=False) for _ in range(3)]

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"unavailable"' in refused
    assert b"retry-after: 1" in refused.lower()
    assert small.endswith(b"60000")
    assert all(answer.endswith(b"%d" % MIB) for answer in answers)
    assert all(answer.endswith(b"%d" % (3 * MIB // 2)) for answer in after)


async def test_bodies_that_do_not_fit_together_end_one_after_the_other() -> None:
    """H04"""
    room = Room(BodyLimits(together=100, wait_s=60))
    await room.take("eldest", 40)
    await room.take("second", 40)
    order: list[str] = []

    async def take(whose: str, size: int) -> None:
        await room.take(whose, size)
        order.append(whose)

    waiting = [
        asyncio.create_task(take(whose, size))
        for whose, size in (("second", 50), ("small", 10), ("eldest", 90))
    ]
    await asyncio.wait({waiting[2]})
    assert order == ["eldest"], "what comes for longest goes on, and nobody overtakes the others"
    room.leave("eldest")
    await asyncio.gather(*waiting)
    assert order == ["eldest", "second", "small"]
    room.leave("small")
    room.leave("second")
    await room.take("a", 60)
    await room.take("b", 40)
    late = asyncio.create_task(room.take("c", 1))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait({late})
    room.leave("c")
    room.leave("b")
    await room.take("d", 40)


async def test_chunks_without_end_are_cut() -> None:
    """H04"""
    async with site(ROUTES, receive_timeout_s=60) as server, server.connected() as peer:
        await peer.send(HEAD % b"/length" + b"Transfer-Encoding: chunked\r\n\r\n")
        answer = asyncio.create_task(peer.rest())
        try:
            while not answer.done():
                await peer.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        except ConnectionError:
            pass

        assert (await answer).startswith(b"HTTP/1.1 413 ")


async def test_chunks_of_one_byte_pass_and_chunks_that_are_all_framing_do_not() -> None:
    """H04"""
    async with site(ROUTES, receive_timeout_s=60) as server:
        small = (
            HEAD % b"/length" + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n"
        )
        assert (await server.ask(small)).endswith(b"50000")

        async with server.connected() as peer:
            await peer.send(HEAD % b"/length" + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(10):
                await peer.send((b"1;" + b"e" * 200 + b"\r\nx\r\n") * 100)
            assert (await peer.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[1e999]",
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'{"a":1,"a":2}',
        b"[" * 100_000,
        b"9" * 5_000,
        b"",
    ],
)
async def test_json_that_is_not_is_a_400_problem(body: bytes) -> None:
    """H05"""
    async with site(ROUTES) as server:
        answer = await server.ask(HEAD % b"/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"malformed_input"' in answer

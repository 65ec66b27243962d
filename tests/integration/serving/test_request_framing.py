import asyncio

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.serving.limits import Limits
from support.raw_http import site

HOST = b"Host: localhost\r\n"
GET = b"GET /seen HTTP/1.1\r\n"
END = b"Connection: close\r\n\r\n"


async def seen(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {"body": body.decode(), "headers": [name.decode() for name, _ in request.scope["headers"]]}
    )


ROUTES = [Route("/seen", seen, methods=["GET", "POST"])]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(HOST, 200, id="host"),
        pytest.param(b"Host: localhost:8080\r\n", 200, id="host with port"),
        pytest.param(b"Host: [::1]:8080\r\n", 200, id="IPv6 host"),
        pytest.param(b"", 400, id="no host"),
        pytest.param(HOST + HOST, 400, id="two hosts"),
        pytest.param(b"Host: \r\n", 400, id="empty host"),
        pytest.param(b"Host: a/health?x=\r\n", 400, id="host with a path"),
        pytest.param(b"Host: evil.example\r\n", 421, id="foreign host"),
        pytest.param(b"Host: localhost.\r\n", 421, id="trailing dot"),
        pytest.param(b"Host: localhost.evil.example\r\n", 421, id="our name as a label"),
        pytest.param(HOST + b"Origin: http://evil.example\r\n", 403, id="foreign origin"),
        pytest.param(HOST + b"Origin: null\r\n", 403, id="null origin"),
        pytest.param(HOST + b"Origin: http://localhost.evil.example\r\n", 403, id="look-alike origin"),
        pytest.param(HOST + b"Origin: http://localhost\r\n", 200, id="own origin"),
        pytest.param(HOST + b"X: " + b"a" * 200_000 + b"\r\n", 431, id="200 kB header"),
        pytest.param(HOST + b"X: a\r\n" * 101, 431, id="too many headers"),
        pytest.param(HOST + b"X : a\r\n", 400, id="space before the colon"),
        pytest.param(HOST + b"X: a\r\n b\r\n", 400, id="folded header"),
        pytest.param(HOST + b"X: a\x00b\r\n", 400, id="NUL in a header"),
        pytest.param(HOST + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 3\r\n", 400, id="upgrade with a body"),
    ],
)  # fmt: skip
async def test_a_head_gets_its_status(head: bytes, status: int) -> None:
    """H09, H10"""
    async with site(ROUTES) as server:
        answer = await server.ask(GET + head + END)

        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"evil" not in answer
        assert b"uvicorn" not in answer
        assert status == 200 or b"application/problem+json" in answer


async def test_a_public_paths_name_in_the_host_opens_no_protected_path() -> None:
    """H10"""
    async with site(ROUTES) as server:
        answer = await server.ask(
            b"GET /seen HTTP/1.1\r\nHost: localhost/health/live?x=\r\nConnection: close\r\n\r\n"
        )

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"live" not in answer


async def test_a_target_beyond_the_limit_is_414_even_before_it_ends() -> None:
    async with site(ROUTES) as server:
        assert await server.status_of(b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + END) == 414
        async with server.connected() as peer:
            await peer.send(b"GET /")
            for _ in range(3):
                await peer.send(b"a" * 20_000)
            assert (await peer.rest()).startswith(b"HTTP/1.1 414 ")


async def test_a_head_that_never_ends_is_431_long_before_the_deadline() -> None:
    async with site(ROUTES, receive_timeout_s=60) as server, server.connected() as peer:
        await peer.send(GET + HOST)
        await peer.send((b"X-A: " + b"a" * 30 + b"\r\n") * 30_000)

        assert (await peer.rest()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: 0x3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
async def test_an_ambiguous_length_is_refused_and_nothing_after_it_is_a_request(head: bytes) -> None:
    """H04"""
    smuggled = b"GET /seen HTTP/1.1\r\n" + HOST + END
    async with site(ROUTES) as server:
        answer = await server.ask(b"POST /seen HTTP/1.1\r\n" + HOST + head + b"\r\n0\r\n\r\n" + smuggled)

        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_length_that_is_too_short_leaves_garbage_that_is_refused() -> None:
    """H04"""
    async with site(ROUTES) as server:
        answer = await server.ask(
            b"POST /seen HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabcdef\r\n\r\n"
        )

        assert b'"body":"abc"' in answer or answer.startswith(b"HTTP/1.1 400 ")
        assert b"def" not in answer


async def test_trailers_never_become_headers() -> None:
    chunks = b"3\r\nabc\r\n0\r\nX-Hub-Signature-256: sha256=00\r\nAuthorization: Bearer x\r\n\r\n"
    async with site(ROUTES) as server:
        answer = await server.ask(
            b"POST /seen HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + END + chunks
        )

        content = orjson.loads(answer.split(b"\r\n\r\n", 1)[1])
        assert content == {"body": "abc", "headers": ["host", "transfer-encoding", "connection"]}


async def test_trailers_without_end_are_cut() -> None:
    async with site(ROUTES, receive_timeout_s=60) as server, server.connected() as peer:
        await peer.send(b"POST /seen HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        await peer.send(b"a" * 1_000_000)

        assert (await peer.rest()).startswith(b"HTTP/1.1 400 ")
        assert server.refused == ["framing"]


async def test_an_upgrade_we_do_not_offer_is_answered_as_if_unasked() -> None:
    async with site(ROUTES) as server:
        answer = await server.ask(
            GET
            + HOST
            + b"Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\nGET /seen"
        )

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert answer.count(b"HTTP/1.1 ") == 1


async def test_pipelined_requests_are_answered_in_order_and_bounded() -> None:
    async with site(ROUTES, Limits(pipelined=3)) as server:
        few = b"".join(
            b"POST /seen HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 1\r\n%s\r\n%d" % (b"Connection: close\r\n" if n == 2 else b"", n)
            for n in range(3)
        )
        answer = await server.ask(few)
        assert [answer.index(b'"body":"%d"' % n) for n in range(3)] == sorted(
            answer.index(b'"body":"%d"' % n) for n in range(3)
        )

        await server.ask((GET + HOST + b"\r\n") * 10_000)
        assert "malformed" in server.refused
        assert await server.is_live()


async def test_forwarded_headers_of_a_stranger_change_nothing() -> None:
    async def client(request: Request) -> Response:
        assert request.client is not None
        return JSONResponse({"host": request.client.host, "scheme": request.url.scheme})

    async with site([Route("/client", client)]) as server:
        answer = await server.ask(
            b"GET /client HTTP/1.1\r\n"
            + HOST
            + b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n"
            + END
        )

        assert b'{"host":"127.0.0.1","scheme":"http"}' in answer


async def test_garbage_of_every_kind_leaves_the_server_well() -> None:
    async with site(ROUTES) as server:
        garbage = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\x00" * 100,
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\xff" * 1_000,
        ]
        answers = await asyncio.gather(*(server.ask(sent) for sent in garbage))

        assert all(answer.startswith(b"HTTP/1.1 400 ") for answer in answers)
        assert await server.is_live()

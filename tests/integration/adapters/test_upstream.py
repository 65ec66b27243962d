"""How adapters call out, against real servers on this machine; `test_upstream_failures.py` has those that are slow, endless or broken."""

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from devops_mcp.adapters.base import Outside
from devops_mcp.adapters.upstream import Reply, Upstream, file_path, path, retry_after_s
from devops_mcp.models.errors import (
    Forbidden,
    InvalidInput,
    PlatformError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.outbound.http import AddressRefused
from support.servers import Answers, cut, flood, garbage, hang, serve, serve_bytes, trickle
from support.upstreams import CANARY, ONCE, quick, upstream


async def test_an_answer_arrives_whole_with_its_headers_in_lower_case():
    answers = Answers(Response(b'{"a": 1}', 200, {"X-Total": "7"}))
    async with serve(answers) as url, upstream(f"{url}/prefix") as system:
        reply = await system.get("/things", params={"state": "open", "page": None})

    assert (reply.status, reply.headers["x-total"], reply.json()) == (200, "7", {"a": 1})
    assert str(answers.requests[0].url).endswith("/prefix/things?state=open")
    assert answers.requests[0].headers["authorization"] == f"Bearer {CANARY}"


HOSTILE = [
    "../../admin",
    "a?x=1",
    "a#f",
    "%2e%2e",
    ";/admin",
    "a/b",
    "a\\b",
    "a b",
    "ü",
    "\x00",
    "a%00b",
    "..;",
    "-x",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_name_never_leaves_its_segment_of_the_path(name):
    """I11"""
    answers = Answers(PlainTextResponse("here"))
    async with serve(answers) as url, upstream(url) as system:
        await system.get(path("repos", name, "file"))

    request = answers.requests[0]
    raw = request.scope["raw_path"].decode()
    assert raw.startswith("/repos/")
    assert raw.endswith("/file")
    assert raw.count("/") == 3
    assert "?" not in raw
    assert request.url.query == ""
    assert request.scope["path"] == f"/repos/{name}/file"


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_segment_that_servers_resolve_is_refused(segment):
    """I11"""
    with pytest.raises(InvalidInput):
        path("repos", segment)


def test_the_segments_of_a_path_written_with_slashes_are_kept_apart():
    assert path(*file_path("/src//a b/c#.py")) == "/src/a%20b/c%23.py"
    with pytest.raises(InvalidInput):
        path(*file_path("src/../etc"))


async def test_a_request_too_long_to_be_a_url_is_the_callers_fault():
    async with upstream("http://127.0.0.1:9") as system:
        with pytest.raises(InvalidInput, match="no request to shop"):
            await system.get(path("a" * 100_000))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, UpstreamRejected), (400, UpstreamRejected), (401, UpstreamUnauthorized), (403, UpstreamUnauthorized),
        (404, UpstreamNotFound), (409, UpstreamRejected), (422, UpstreamRejected), (429, UpstreamRateLimited),
        (500, UpstreamUnavailable), (503, UpstreamUnavailable),
    ],
)  # fmt: skip
async def test_a_status_becomes_the_error_it_means_in_the_systems_own_words(status, error):
    answers = Answers(Response(b'{"message": "because"}', status))
    async with serve(answers) as url, upstream(url, quick(retry=ONCE)) as system:
        with pytest.raises(error, match=f"shop answered {status}: (because|redirects)") as caught:
            await system.get("/things")

    assert type(caught.value) is error


async def test_a_status_that_the_caller_expects_is_no_error():
    async with serve(Answers(Response(status_code=304))) as url, upstream(url) as system:
        assert (await system.request("GET", "/", ok=frozenset({200, 304}))).status == 304


async def test_a_redirect_is_never_followed():
    """I07"""
    answers = Answers(Response(status_code=307, headers={"location": "/inner"}))
    async with serve(answers) as url, upstream(url) as system:
        for method in ("GET", "POST"):
            with pytest.raises(UpstreamRejected, match="redirects are not followed"):
                await system.request(method, "/outer")

    assert [request.url.path for request in answers.requests] == ["/outer", "/outer"]


async def test_an_address_that_is_not_opened_is_refused_and_counts_against_nobody():
    """I05"""
    answers = Answers(PlainTextResponse("inside"))
    policies = quick()
    async with serve(answers) as url:
        system = Upstream("shop", url, Outside(policies=policies))
        with pytest.raises(AddressRefused):
            await system.get("/")
        await system.close()

    assert answers.requests == []
    assert policies.snapshot().breaker.calls == 0
    assert issubclass(AddressRefused, Forbidden)


@pytest.mark.parametrize(
    "answer",
    [PlainTextResponse("<html>\n" + "x" * 100_000, 400), JSONResponse({"message": "no\n" * 10_000}, 400)],
)
async def test_a_long_answer_is_shortened_to_one_line(answer):
    """L01"""
    async with serve(Answers(answer)) as url, upstream(url) as system:
        with pytest.raises(UpstreamRejected) as caught:
            await system.get("/")

    assert len(caught.value.message) < 600
    assert "\n" not in caught.value.message


async def test_a_body_that_is_not_json_says_so():
    async with serve(Answers(PlainTextResponse("{nope"))) as url, upstream(url) as system:
        reply = await system.get("/")
    with pytest.raises(UpstreamInvalid, match="not JSON"):
        reply.json()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    status = int(scope["path"].strip("/"))
    said = scope["headers"] and dict(scope["headers"]).get(b"authorization", b"").decode()
    await Response(f'{{"message": "bad credentials {said}"}}', status)(scope, receive, send)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_a_credential_that_the_system_repeats_is_not_in_the_error(status):
    """K01"""
    async with serve(echo) as url, upstream(url, quick(retry=ONCE)) as system:
        with pytest.raises(PlatformError, match=r"bad credentials Bearer \[redacted\]") as caught:
            await system.get(f"/{status}")

    assert CANARY not in f"{caught.value!r} {caught.value.details}"


@pytest.mark.parametrize("talk", [hang, garbage, cut, flood])
async def test_no_failure_of_the_connection_shows_a_credential(talk):
    """K01"""
    async with serve_bytes(talk) as url, upstream(url, timeout_s=0.2, max_bytes=100_000) as system:
        with pytest.raises(PlatformError) as caught:
            await system.get("/")

    assert CANARY not in repr(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "9" * 400}, 86_400.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", "date": "Fri, 20 Nov 2026 10:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_a_number_a_date_or_nothing(headers, seconds):
    assert retry_after_s(Reply(503, headers, b"")) == seconds


async def test_the_wait_that_the_system_asks_for_reaches_the_caller():
    answers = Answers(Response(b"slow down", 429, {"retry-after": "60"}))
    async with serve(answers) as url, upstream(url) as system:
        with pytest.raises(UpstreamRateLimited) as caught:
            await system.get("/")

    assert caught.value.retry_after_s == 60
    assert len(answers.requests) == 1


# Downloads from elsewhere.


async def download(system: Upstream, url: str, *, timeout_s: float) -> bytes:
    async with system.fetch(url, timeout_s=timeout_s) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_download_is_fetched_without_our_credentials():
    """I07, A09"""
    answers = Answers(PlainTextResponse("the log"))
    async with (
        serve(answers) as url,
        upstream("http://127.0.0.1:9") as system,
        system.fetch(f"{url}/log?sig=1", timeout_s=5) as chunks,
    ):
        body = b"".join([chunk async for chunk in chunks])

    assert body == b"the log"
    assert CANARY not in str(answers.requests[0].headers)


async def test_a_download_that_redirects_again_is_not_followed():
    """I07"""
    answers = Answers(Response(status_code=302, headers={"location": "/inner"}))
    async with serve(answers) as url, upstream("http://127.0.0.1:9") as system:
        with pytest.raises(UpstreamUnavailable, match="answered 302"):
            async with system.fetch(url, timeout_s=5):
                pytest.fail("the redirect was followed")

    assert len(answers.requests) == 1


@pytest.mark.parametrize(
    "url", ["http://example.com/log", "file:///etc/passwd", "ftp://example.com", "http://[::1", "//[::1"]
)
async def test_a_download_may_not_leave_https(url):
    """I07"""
    async with upstream("https://example.com") as system:
        with pytest.raises(UpstreamInvalid, match="sent us to a download"):
            async with system.fetch(url, timeout_s=5):
                pytest.fail("it was fetched")


async def test_a_download_from_a_private_address_is_refused():
    """I05, I07"""
    answers = Answers(PlainTextResponse("inside"))
    async with serve(answers) as url:
        system = Upstream("shop", "http://example.com", Outside(policies=quick()))
        with pytest.raises(AddressRefused):
            async with system.fetch(url, timeout_s=5):
                pytest.fail("it was fetched")
        await system.close()

    assert answers.requests == []


@pytest.mark.parametrize("talk", [hang, trickle])
async def test_a_download_is_bounded_in_time(talk):
    async with serve_bytes(talk) as url, upstream("http://127.0.0.1:9") as system:
        with pytest.raises(UpstreamUnavailable, match="longer than"):
            await download(system, url, timeout_s=0.2)


async def test_the_reader_of_an_endless_download_may_stop():
    async with (
        serve_bytes(flood) as url,
        upstream("http://127.0.0.1:9") as system,
        system.fetch(url, timeout_s=5) as chunks,
    ):
        async for chunk in chunks:
            assert chunk
            break

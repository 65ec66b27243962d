"""Posting to addresses of tenants, against real servers that behave badly."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.outbound.posting import open_poster
from support.addresses import FORBIDDEN, LOOPBACK_SPELLINGS
from support.servers import (
    LOOPBACK,
    Answers,
    cut,
    flood,
    garbage,
    hang,
    serve,
    serve_bytes,
    trickle,
    trickle_head,
)

BODY = b'{"type": "build.finished"}'
SOON_S = 0.5


async def test_a_post_arrives_as_it_is_and_its_status_comes_back():
    receiver = Answers(PlainTextResponse("thanks", 202, headers={"X-Echo": "1"}))
    async with serve(receiver) as url, open_poster(LOOPBACK) as poster:
        posted = await poster.post(f"{url}/hook?key=1", BODY, {"webhook-id": "msg_1"})
    [request] = receiver.requests
    assert (posted.status, posted.headers["x-echo"]) == (202, "1")
    assert (request.method, request.url.path, request.url.query) == ("POST", "/hook", "key=1")
    assert (receiver.bodies, request.headers["webhook-id"]) == ([BODY], "msg_1")


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_no_address_of_ours_is_posted_to(address):
    """I05, I06"""
    host = f"[{address}]" if ":" in address else address
    async with open_poster(()) as poster:
        with pytest.raises(UpstreamUnavailable, match="must not be reached"):
            await poster.post(f"https://{host}/", BODY, {})


@pytest.mark.parametrize("spelling", LOOPBACK_SPELLINGS)
async def test_no_spelling_of_loopback_is_posted_to(spelling):
    """I05"""
    receiver = Answers(Response())
    async with serve(receiver) as url, open_poster(()) as poster:
        port = url.rpartition(":")[2]
        with pytest.raises(UpstreamUnavailable):
            await poster.post(f"http://{spelling}:{port}/", BODY, {})
    assert receiver.requests == []


async def test_a_redirect_is_not_followed():
    """I07, W11"""
    receiver = Answers(RedirectResponse("http://169.254.169.254/latest/meta-data/", 307))
    async with serve(receiver) as url, open_poster(LOOPBACK) as poster:
        assert (await poster.post(url, BODY, {})).status == 307
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("talk", [hang, trickle_head, garbage])
async def test_who_gives_no_answer_in_time_or_none_at_all_has_not_answered(talk):
    """W11"""
    async with serve_bytes(talk) as url, open_poster(LOOPBACK, deadline_s=SOON_S) as poster:
        with pytest.raises(UpstreamUnavailable):
            await poster.post(url, BODY, {})


@pytest.mark.parametrize("talk", [trickle, cut])
async def test_an_answers_status_counts_whatever_becomes_of_its_body(talk):
    async with serve_bytes(talk) as url, open_poster(LOOPBACK, deadline_s=1.5) as poster:
        assert (await poster.post(url, BODY, {})).status == 200


@pytest.mark.parametrize("talk", [flood, trickle])
async def test_of_a_long_answer_only_the_beginning_is_read(talk):
    """X01: who trickles it holds up nobody for as long as an answer may take."""
    async with serve_bytes(talk) as url, open_poster(LOOPBACK, deadline_s=60) as poster:
        async with asyncio.timeout(30):
            assert (await poster.post(url, BODY, {})).status == 200


async def test_what_one_receiver_sets_goes_to_no_other():
    seen: list[str | None] = []

    async def receiver(scope, receive, send):
        seen.append(Request(scope).headers.get("cookie"))
        await Response(headers={"Set-Cookie": "session=canary; Path=/"})(scope, receive, send)

    async with serve(receiver) as url, open_poster(LOOPBACK) as poster:
        for _ in range(2):
            await poster.post(url, BODY, {})
    assert seen == [None, None]


async def test_a_receiver_that_is_not_there_is_no_answer():
    async with serve(Answers(Response())) as url:
        pass
    async with open_poster(LOOPBACK) as poster:
        with pytest.raises(UpstreamUnavailable, match="no connection"):
            await poster.post(url, BODY, {})

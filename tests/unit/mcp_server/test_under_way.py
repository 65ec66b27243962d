"""What is under way is known until it has ended, however it ends."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import mcp_types as types
import orjson
import pytest
from starlette.requests import Request

from devops_mcp.cache.message_log import Positions
from devops_mcp.cache.sessions import SessionRecord
from mcp_server.fast_calls import Answering, FastCalls
from mcp_server.transports.http_session import OneStreamSession, Session
from mcp_server.transports.http_streams import Stream
from mcp_server.transports.under_way import CANCELLED, UnderWay


async def nothing() -> None:
    pass


async def test_what_is_cancelled_before_it_began_is_over():
    under_way, told = UnderWay(), asyncio.Event()
    under_way.run(7, nothing(), when_cancelled=told.set)
    under_way.cancel({"requestId": "7"})
    async with asyncio.timeout(30):
        await told.wait()
    assert under_way.refusal(7) is None
    assert under_way.idle.is_set()


async def test_what_runs_here_is_not_over_because_somebody_else_answered():
    under_way, done = UnderWay(), asyncio.Event()

    async def work() -> None:
        await done.wait()

    under_way.run(7, work())
    under_way.ended(7)
    refused = under_way.refusal("7")
    assert refused is not None
    assert refused.code == types.INVALID_REQUEST
    assert not under_way.idle.is_set()
    done.set()
    async with asyncio.timeout(30):
        await under_way.idle.wait()
    assert under_way.refusal(7) is None


class AtOnce:
    """The short way of a call that has been prepared at once."""

    async def prepare(self, *_: Any) -> Answering:
        async def answering() -> bytes:
            return b"{}"

        return answering


async def nobody_keeps(_: Session) -> None:
    pass


async def begun_and_cancelled(session: Session, request_id: str | int) -> Stream:
    request = Request({"type": "http", "headers": []})
    call = types.JSONRPCRequest(jsonrpc="2.0", id=request_id, method="tools/call", params={"name": "x"})
    stream = await session.ask(call, request)
    cancelled = types.JSONRPCNotification(jsonrpc="2.0", method=CANCELLED, params={"requestId": request_id})
    await session.take(cancelled, request)
    return stream


async def test_over_one_stream_who_cancels_a_call_before_it_began_hears_no_more_of_it():
    record = SessionRecord(tenant_id=uuid4(), principal_id=uuid4(), lasting=False, began_with={})
    session = OneStreamSession("s", record, Positions(), None, cast("FastCalls", AtOnce()), nobody_keeps)
    await begun_and_cancelled(session, 7)
    async with asyncio.timeout(30):
        while session.refusal(7) is not None:
            await asyncio.sleep(0)
    assert (list(session.standalone.waiting), session.requests) == ([], {})


@pytest.mark.parametrize("request_id", [7, "7", "seven"])
async def test_over_http_who_cancels_a_call_before_it_began_is_told_that_it_was_cancelled(request_id):
    record = SessionRecord(tenant_id=uuid4(), principal_id=uuid4(), lasting=True, began_with={})
    session = Session("s", record, Positions(), None, cast("FastCalls", AtOnce()), nobody_keeps)
    stream = await begun_and_cancelled(session, request_id)
    with stream.read() as reader:
        async with asyncio.timeout(30):
            answer = await reader.next()
    assert answer is not None
    assert orjson.loads(answer.body)["error"]["code"] == -32800
    assert session.refusal(request_id) is None

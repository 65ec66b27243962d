"""What goes over the wire to the queue service, and what becomes of an answer that is none."""

import gzip
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from devops_mcp.events.calls import SqsCalls, open_calls
from devops_mcp.events.connection import translated
from devops_mcp.events.sqs import open_queues
from devops_mcp.models.errors import ConfigurationError, Unavailable
from support.servers import Answers, cut, serve, serve_bytes

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
OURS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "session"}


@asynccontextmanager
async def opened(url: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[SqsCalls]:
    async with open_calls(endpoint_url=url, region="eu-west-1", environment=environment or {}) as calls:
        yield calls


def signature(request: Request, body: bytes) -> str:
    """The authorization that belongs to a request, by AWS's recipe (Signature Version 4)."""
    names = ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"]
    headers = "".join(f"{name}:{request.headers[name]}\n" for name in names)
    signed = ";".join(names)
    canonical = f"POST\n{request.url.path}\n\n{headers}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
    at = request.headers["x-amz-date"]
    scope = [at[:8], "eu-west-1", "sqs", "aws4_request"]
    key = f"AWS4{SECRET}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    told = "\n".join(["AWS4-HMAC-SHA256", at, "/".join(scope), digest])
    return (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{'/'.join(scope)}, SignedHeaders={signed}, "
        f"Signature={hmac.new(key, told.encode(), 'sha256').hexdigest()}"
    )


async def test_a_call_is_signed_as_it_arrives(monkeypatch: pytest.MonkeyPatch):
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    answers = Answers(JSONResponse({"QueueUrl": "http://x/1/grüße"}))

    async with serve(answers) as url, opened(url, OURS) as calls:
        assert await calls.call("GetQueueUrl", {"QueueName": "grüße"}) == {"QueueUrl": "http://x/1/grüße"}

    [request], [body] = answers.requests, answers.bodies
    assert request.headers["x-amz-target"] == "AmazonSQS.GetQueueUrl"
    assert request.headers["authorization"] == signature(request, body)


async def test_what_may_pass_is_tried_once_more():
    answers = Answers(JSONResponse({"__type": "x#InternalFailure"}, 500), JSONResponse({"QueueUrl": "u"}))
    async with serve(answers) as url, opened(url) as calls:
        assert await calls.call("GetQueueUrl", {"QueueName": "q"}) == {"QueueUrl": "u"}
    assert len(answers.requests) == 2


async def test_an_answer_that_is_no_json_is_an_outage():
    answers = Answers(PlainTextResponse("<html>welcome</html>"))
    async with serve(answers) as url, opened(url) as calls:
        with pytest.raises(Unavailable, match="other than JSON"):
            await calls.call("GetQueueUrl", {"QueueName": "q"})


async def test_an_answer_that_breaks_off_is_an_outage():
    async with serve_bytes(cut) as url, opened(url) as calls:
        with pytest.raises(Unavailable, match="q cannot be reached"), translated("q"):
            await calls.call("GetQueueUrl", {"QueueName": "q"})


async def test_nothing_packed_is_asked_for_and_what_comes_packed_is_read():
    """Some services and proxies pack what they may, and some what they may not."""
    packed = gzip.compress(b'{"QueueUrl": "u"}')
    answers = Answers(Response(packed, headers={"content-encoding": "gzip"}))
    async with serve(answers) as url, opened(url) as calls:
        assert await calls.call("GetQueueUrl", {"QueueName": "q"}) == {"QueueUrl": "u"}
    assert answers.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "http://me:open-sesame@queue.example",
        "http://me:open-sesame@queue_example",
        "ftp://queue.example",
        "http://queue.example:99999",
        "http://queue.example:port",
        "http://[queue.example",
        "http://queue.example/?open-sesame",
        "http://queue.example/#open-sesame",
    ],
)
async def test_an_address_that_nothing_can_be_posted_to_is_refused_at_the_start(url: str):
    """C01: and not repeated, as it may hold a password."""
    with pytest.raises(ConfigurationError, match="address of the queue service") as refused:
        async with opened(url):
            pass
    assert "open-sesame" not in refused.value.message


@pytest.mark.parametrize("scheme", ["http://", "http://me:open-sesame@", ""])
async def test_a_proxy_of_the_environment_is_used(scheme: str, monkeypatch: pytest.MonkeyPatch):
    answers = Answers(JSONResponse({"QueueUrl": "http://queue.example/1/x-events"}))
    async with serve(answers) as proxy:
        monkeypatch.setenv("http_proxy", proxy.replace("http://", scheme))
        monkeypatch.delenv("no_proxy", raising=False)
        async with open_queues(
            endpoint_url="http://queue.example", region="eu-west-1", prefix="x-", environment={}
        ) as queues:
            for queue in list(queues.values())[:1]:
                await queue.ping()
    [headers] = [request.headers for request in answers.requests]
    assert (headers["host"], "proxy-authorization" in headers) == ("queue.example", "@" in scheme)

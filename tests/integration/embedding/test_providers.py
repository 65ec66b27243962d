"""Each provider against a server that answers as its vendor documents: vectors, batches, errors, limits, and what stands in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from devops_mcp.config.settings import EmbeddingModelSettings
from devops_mcp.embedding import base
from devops_mcp.embedding.base import EmbeddingProvider, Purpose
from devops_mcp.embedding.catalogue import EmbeddingModels
from devops_mcp.embedding.failover import Failover
from devops_mcp.embedding.remote import open_remote
from devops_mcp.models.errors import (
    ConfigurationError,
    Forbidden,
    NotFound,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from support.embedding import FakeProvider, model, vector_of
from support.embedding_services import (
    EmbeddingFake,
    bedrock,
    bedrock_error,
    google,
    google_error,
    openai,
    openai_error,
)
from support.servers import LOOPBACK, serve
from support.upstreams import quick

SECRET = "sk-canary-51f0a7c2d9"
TEXTS = ["the build failed", "an alert fired", "the deployment was rolled back", "disk full", "one more"]
SETTINGS: dict[str, dict[str, Any]] = {
    "openai": {"model": "text-embedding-3-small", "shortens": True, "max_batch": 2},
    "azure": {"model": "our-deployment", "max_batch": 2},
    "google": {"model": "gemini-embedding-001", "max_batch": 2},
    "titan": {"provider": "bedrock", "model": "amazon.titan-embed-text-v2:0"},
    "cohere": {"provider": "bedrock", "model": "eu.cohere.embed-multilingual-v3", "max_batch": 2},
}
ANSWERS = {"openai": openai, "azure": openai, "google": google, "titan": bedrock, "cohere": bedrock}


@dataclass
class Case:
    """A provider, the service it asks, and its settings."""

    fake: EmbeddingFake
    provider: EmbeddingProvider


@asynccontextmanager
async def opened(name: str, **changes: Any) -> AsyncIterator[Case]:
    fake = EmbeddingFake(ANSWERS[name])
    async with serve(fake) as url:
        values = {"name": name, "provider": name, "dimensions": 8, "api_key": SECRET, "base_url": url}
        settings = EmbeddingModelSettings(**{**values, **SETTINGS[name], **changes})
        async with open_remote(settings, LOOPBACK, "eu-central-1", quick(name)) as provider:
            yield Case(fake, provider)


class Never(Response):
    """An answer that does not come, to what says that it was asked."""

    def __init__(self, asked: asyncio.Event) -> None:
        super().__init__()
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass


each = pytest.mark.parametrize("name", SETTINGS)


@each
async def test_texts_become_unit_vectors_in_their_order(name):
    async with opened(name) as case:
        embedded = await case.provider.embed(TEXTS)
    assert embedded.vectors == [pytest.approx(vector_of(text, 8)) for text in TEXTS]
    assert embedded.model.name == name
    assert embedded.tokens >= sum(len(text.split()) for text in TEXTS)
    assert len(case.fake.requests) == (5 if name == "titan" else 3)


@each
async def test_a_question_does_not_wait_for_a_model_that_hangs_as_long_as_passages_do(name, monkeypatch):
    monkeypatch.setattr(base, "QUESTION_WITHIN_S", 0.05)
    async with opened(name, timeout_s=120) as case, asyncio.timeout(60):
        asked = asyncio.Event()
        case.fake.first = [Never(asked)]
        with pytest.raises(UpstreamUnavailable):
            await case.provider.embed(["why?"], Purpose.QUESTION)
        case.fake.first = [Never(asked)]
        passage = asyncio.create_task(case.provider.embed(["because"]))
        asked.clear()
        await asked.wait()
        done, _ = await asyncio.wait([passage], timeout=0.2)
        passage.cancel()
    assert not done


async def test_openai_is_asked_as_documented():
    async with opened("openai", passage_prefix="passage: ", query_prefix="query: ") as case:
        await case.provider.embed(["why?"], Purpose.QUESTION)
        await case.provider.embed(["because"])
    assert case.fake.bodies == [
        {
            "model": "text-embedding-3-small",
            "encoding_format": "float",
            "dimensions": 8,
            "input": [text],
        }
        for text in ("query: why?", "passage: because")
    ]
    assert case.fake.requests[0].url.path == "/embeddings"
    assert case.fake.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_azure_takes_the_key_in_its_own_header():
    async with opened("azure") as case:
        await case.provider.embed(["x"])
    assert case.fake.requests[0].headers["api-key"] == SECRET
    assert "authorization" not in case.fake.requests[0].headers
    assert "dimensions" not in case.fake.bodies[0]


async def test_google_is_told_what_the_text_is_for():
    async with opened("google") as case:
        await case.provider.embed(["why?"], Purpose.QUESTION)
    [request] = case.fake.bodies[0]["requests"]
    assert case.fake.requests[0].url.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert case.fake.requests[0].headers["x-goog-api-key"] == SECRET
    assert request == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "why?"}]},
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 8,
    }


async def test_bedrock_is_asked_in_each_familys_own_words():
    async with opened("titan") as titan, opened("cohere") as cohere:
        await titan.provider.embed(["why?"], Purpose.QUESTION)
        await cohere.provider.embed(["why?"], Purpose.QUESTION)
        await cohere.provider.embed(["because"])
    assert titan.fake.requests[0].url.path == "/model/amazon.titan-embed-text-v2:0/invoke"
    assert titan.fake.bodies == [{"inputText": "why?", "dimensions": 8, "normalize": True}]
    assert [body["input_type"] for body in cohere.fake.bodies] == ["search_query", "search_document"]
    assert "AWS4-HMAC-SHA256" in titan.fake.requests[0].headers["authorization"]


LIMITED = {
    "openai": lambda: openai_error(429, "rate_limit_exceeded", headers={"retry-after-ms": "40"}),
    "azure": lambda: openai_error(429, "429", headers={"retry-after": "0"}),
    "google": lambda: google_error(429, "RESOURCE_EXHAUSTED", retry_delay="0.04s"),
    "titan": lambda: bedrock_error(429, "ThrottlingException"),
    "cohere": lambda: bedrock_error(503, "ServiceUnavailableException"),
}


@each
async def test_a_limit_is_waited_out(name):
    async with opened(name) as case:
        case.fake.first = [LIMITED[name](), LIMITED[name]()]
        embedded = await case.provider.embed(["one"])
    assert embedded.vectors == [pytest.approx(vector_of("one", 8))]
    assert len(case.fake.requests) == 3


async def test_a_wait_that_is_too_long_is_left_to_the_caller():
    async with opened("google") as case:
        case.fake.first = [google_error(429, "RESOURCE_EXHAUSTED", retry_delay="37s")]
        with pytest.raises(UpstreamRateLimited) as refused:
            await case.provider.embed(["one"])
    assert refused.value.retry_after_s == 37
    assert len(case.fake.requests) == 1


ERRORS: list[tuple[str, Response, type[Exception]]] = [
    ("openai", openai_error(401, "invalid_api_key", f"Incorrect API key provided: {SECRET}"), UpstreamUnauthorized),
    ("openai", openai_error(429, "insufficient_quota"), UpstreamUnauthorized),
    ("openai", openai_error(400, None, "maximum context length is 8192 tokens"), UpstreamRejected),
    ("openai", JSONResponse({"error": "Input validation error", "error_type": "Validation"}, 413), UpstreamRejected),
    ("openai", JSONResponse({"object": "error", "message": "no such model", "code": 404}, 404), UpstreamNotFound),
    ("openai", Response("<html>gateway</html>"), UpstreamInvalid),
    ("openai", JSONResponse({"data": [{"embedding": [1.0]}]}), UpstreamInvalid),
    ("openai", JSONResponse({"data": [{"index": 0, "embedding": [1.0] * 7}]}), UpstreamInvalid),
    ("openai", JSONResponse({"data": []}), UpstreamInvalid),
    ("openai", JSONResponse({"data": [{"index": 0, "embedding": [0.0] * 8}]}), UpstreamInvalid),
    ("azure", JSONResponse({"statusCode": 401, "message": "Access denied"}, 401), UpstreamUnauthorized),
    ("google", google_error(403, "PERMISSION_DENIED"), UpstreamUnauthorized),
    ("google", google_error(400, "INVALID_ARGUMENT"), UpstreamRejected),
    ("google", JSONResponse({"embedding": {}}), UpstreamInvalid),
    ("titan", bedrock_error(403, "AccessDeniedException"), UpstreamUnauthorized),
    ("titan", bedrock_error(400, "ValidationException"), UpstreamRejected),
    ("titan", JSONResponse({"message": "?"}), UpstreamInvalid),
    ("cohere", JSONResponse({"embeddings": {"int8": [[1]]}}), UpstreamInvalid),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "error"), ERRORS)
async def test_what_is_no_answer_is_an_error_without_our_key(name, answer, error):
    async with opened(name) as case:
        case.fake.first = [answer]
        with pytest.raises(error) as raised:
            await case.provider.embed(["one"])
    assert SECRET not in str(raised.value)
    assert len(case.fake.requests) == 1


@each
async def test_a_service_that_fails_for_good_is_tried_three_times(name):
    failure = bedrock_error(500, "InternalServerException") if name in ("titan", "cohere") else None
    async with opened(name) as case:
        case.fake.first = [failure or openai_error(500, "server_error") for _ in range(4)]
        with pytest.raises(UpstreamUnavailable):
            await case.provider.embed(["one"])
    assert len(case.fake.requests) == 3


async def test_a_service_of_the_machine_itself_is_asked_only_where_the_operator_lets_it():
    async with serve(EmbeddingFake(openai)) as url:
        settings = EmbeddingModelSettings(name="x", provider="openai", dimensions=8, base_url=url)
        async with open_remote(settings, (), "eu-central-1", quick("x")) as provider:
            with pytest.raises(Forbidden, match="must not be reached"):
                await provider.embed(["one"])


async def test_another_of_the_same_space_stands_in():
    first, second = FakeProvider(model("first")), FakeProvider(model("second"))
    first.failing = UpstreamUnavailable("gone")
    models = EmbeddingModels([first, FakeProvider(model("other", space="elsewhere/8", dimensions=8)), second])
    embedded = await models.named("first").embed(["one"])
    assert embedded.model.name == "second"
    first.failing = UpstreamRejected("too long")
    with pytest.raises(UpstreamRejected):
        await models.named("first").embed(["one"])
    second.failing = first.failing = UpstreamUnavailable("gone")
    with pytest.raises(UpstreamUnavailable):
        await models.named("first").embed(["one"])


def test_nobody_stands_in_for_a_model_of_another_space():
    one, other = FakeProvider(model("one")), FakeProvider(model("two", space="elsewhere/8", dimensions=8))
    with pytest.raises(ValueError, match="different spaces"):
        Failover([one, other])
    with pytest.raises(ConfigurationError):
        EmbeddingModels([one, FakeProvider(model("two", dimensions=8))])
    models = EmbeddingModels([one, other])
    assert models.default is not None
    assert models.default.model.name == "one"
    assert models.of_space("elsewhere/8") is models.named("two")
    assert models.chosen("gone") is models.default
    with pytest.raises(NotFound, match="there are: one, two"):
        models.named("gone")

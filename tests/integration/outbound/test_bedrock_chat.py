"""A language model of Bedrock, against a server that answers as `Converse` is documented to."""

from contextlib import asynccontextmanager

import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from devops_mcp.config.settings import SummaryModelSettings
from devops_mcp.models.errors import (
    ConfigurationError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.operations.summaries import Summariser
from devops_mcp.outbound.bedrock import open_bedrock_chat
from devops_mcp.resilience.breaker import Breaker, BreakerLimits, BreakerState
from devops_mcp.resilience.bulkhead import Bulkhead
from devops_mcp.resilience.policies import Policies
from support.embedding_services import EmbeddingFake, bedrock_error
from support.servers import serve

MODEL = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"


def converse(*blocks: dict) -> Response:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"""
    return JSONResponse(
        {
            "output": {"message": {"role": "assistant", "content": list(blocks)}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 30, "outputTokens": 5, "totalTokens": 35},
            "metrics": {"latencyMs": 12},
        }
    )


@asynccontextmanager
async def a_model(answer: Response, timeout_s: float = 20):
    fake = EmbeddingFake(lambda body: answer)
    async with (
        serve(fake) as url,
        open_bedrock_chat(MODEL, region="eu-central-1", endpoint_url=url, timeout_s=timeout_s) as chat,
    ):
        yield fake, chat


async def test_a_model_is_asked_by_converse_and_its_texts_are_the_answer():
    thought = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "x"}}}
    async with a_model(converse(thought, {"text": "Disks "}, {"text": "in order."})) as (fake, chat):
        written = await chat.complete("You sum up.", "disk of node 3", max_tokens=80)
    assert written == "Disks in order."
    assert fake.requests[0].url.path == f"/model/{MODEL}/converse"
    assert "/eu-central-1/bedrock/aws4_request" in fake.requests[0].headers["authorization"]
    assert fake.bodies == [
        {
            "system": [{"text": "You sum up."}],
            "messages": [{"role": "user", "content": [{"text": "disk of node 3"}]}],
            "inferenceConfig": {"maxTokens": 80, "temperature": 0.0},
        }
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (bedrock_error(403, "AccessDeniedException"), UpstreamUnauthorized),
        (bedrock_error(400, "ValidationException"), UpstreamRejected),
        (bedrock_error(429, "ThrottlingException"), UpstreamRateLimited),
        (bedrock_error(400, "ThrottlingException"), UpstreamRateLimited),
        (bedrock_error(503, "ServiceUnavailableException"), UpstreamUnavailable),
        (bedrock_error(408, "ModelTimeoutException"), UpstreamRejected),
        (converse(), UpstreamInvalid),
        (JSONResponse({}), UpstreamInvalid),
    ],
)
async def test_what_is_no_answer_is_an_error_and_asked_once(answer, error):
    async with a_model(answer) as (fake, chat):
        with pytest.raises(error):
            await chat.complete("s", "p", max_tokens=80)
    assert len(fake.requests) == 1


async def test_an_address_that_is_none_is_said_at_the_start():
    with pytest.raises(ConfigurationError, match="summary_model"):
        async with open_bedrock_chat(MODEL, region="eu-central-1", endpoint_url="bedrock", timeout_s=1):
            pass


async def test_a_model_that_fails_is_not_asked_for_a_while_and_sentences_are_picked():
    """X01"""
    policies = Policies(Breaker("summary", BreakerLimits(min_calls=3)), Bulkhead("summary"))
    async with a_model(bedrock_error(503, "ServiceUnavailableException")) as (fake, chat):
        made = [
            await Summariser(chat, policies).sum_up("log", "The disk of node 3 is full.") for _ in range(5)
        ]
    assert [summary.made_by for summary in made] == ["extractive"] * 5
    assert len(fake.requests) == 3
    assert policies.snapshot().breaker.state is BreakerState.OPEN


def test_a_summary_model_needs_an_address_unless_it_is_bedrocks():
    assert SummaryModelSettings(provider="bedrock", model=MODEL).base_url is None
    with pytest.raises(ValidationError, match="base_url is missing"):
        SummaryModelSettings(model="small-model")

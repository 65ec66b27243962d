"""Embedding models of Amazon Bedrock: Titan Text Embeddings V2 and Cohere Embed, by `InvokeModel`.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and .../model-parameters-embed.html. Credentials
are those of the process, as for the queues.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import orjson
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from devops_mcp.embedding.base import Embedded, EmbeddingModel, Purpose, Vector, patience_s, unit
from devops_mcp.embedding.batches import in_batches
from devops_mcp.embedding.http import error_of
from devops_mcp.embedding.tokens import count_tokens
from devops_mcp.models.errors import (
    ConfigurationError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.resilience.deadline import Deadline
from devops_mcp.resilience.policies import Policies

COHERE_BATCH = 96
AT_ONCE = 8
"""Titan takes one text a request."""
_INPUT_TYPES = {Purpose.PASSAGE: "search_document", Purpose.QUESTION: "search_query"}
_COUNTED = "x-amzn-bedrock-input-token-count"


@asynccontextmanager
async def open_bedrock(*, endpoint_url: str | None, region: str, timeout_s: float) -> AsyncIterator[Any]:
    """An aiobotocore client of the Bedrock runtime that tries once: the policies try again."""
    config = AioConfig(
        connect_timeout=3,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=32,
    )
    created = get_session().create_client(
        "bedrock-runtime", region_name=region, endpoint_url=endpoint_url, config=config
    )
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(created)
        except ValueError as error:
            raise ConfigurationError(f"the address of Bedrock is wrong: {error}") from None
        yield client


class BedrockProvider:
    """`vendor_model` is a model's id or an inference profile's; one that holds `cohere.` is asked as Cohere's, any other as Titan."""

    def __init__(
        self,
        model: EmbeddingModel,
        client: Any,
        *,
        vendor_model: str,
        timeout_s: float,
        policies: Policies | None = None,
    ) -> None:
        self.model = model
        self.policies = policies or Policies.named(f"embedding:{model.name}")
        self._client = client
        self._vendor_model = vendor_model
        self._timeout_s = timeout_s
        self._is_cohere = "cohere." in vendor_model

    async def embed(self, texts: Sequence[str], purpose: Purpose = Purpose.PASSAGE) -> Embedded:
        within_s = patience_s(purpose, texts, self._timeout_s)
        if self._is_cohere:
            size = min(self.model.max_batch, COHERE_BATCH)
            of_cohere = partial(self._cohere, purpose=purpose, within_s=within_s)
            vectors, tokens = await in_batches(texts, size, of_cohere)
        else:
            of_titan = partial(self._titan, within_s=within_s)
            vectors, tokens = await in_batches(texts, 1, of_titan, at_once=AT_ONCE)
        return Embedded(vectors, self.model, tokens)

    async def _titan(self, texts: Sequence[str], *, within_s: float) -> tuple[list[Vector], int]:
        [text] = texts
        body = {"inputText": text, "dimensions": self.model.dimensions, "normalize": True}
        answer, _ = await self._invoke(body, within_s)
        counted = answer.get("inputTextTokenCount")
        tokens = counted if isinstance(counted, int) else count_tokens(text)
        return unit([answer.get("embedding") or []], 1, self.model), tokens

    async def _cohere(
        self, texts: Sequence[str], *, purpose: Purpose, within_s: float
    ) -> tuple[list[Vector], int]:
        body = {
            "texts": list(texts),
            "input_type": _INPUT_TYPES[purpose],
            "truncate": "END",
            "embedding_types": ["float"],
        }
        answer, headers = await self._invoke(body, within_s)
        found = answer.get("embeddings")
        # Asked for types, it answers by type; older versions of the model give the vectors alone.
        vectors = found.get("float") if isinstance(found, dict) else found
        counted = headers.get(_COUNTED, "")
        tokens = int(counted) if counted.isdecimal() else sum(map(count_tokens, texts))
        return unit(vectors or [], len(texts), self.model), tokens

    async def _invoke(self, body: dict[str, Any], within_s: float) -> tuple[dict[str, Any], dict[str, str]]:
        deadline = Deadline.after(within_s)
        return await self.policies.retry.call(lambda: self._attempt(body, deadline), deadline)

    async def _attempt(
        self, body: dict[str, Any], deadline: Deadline
    ) -> tuple[dict[str, Any], dict[str, str]]:
        async with self.policies.bulkhead.slot():
            with self.policies.breaker.guard():
                try:
                    async with asyncio.timeout(deadline.remaining()):
                        return await self._exchange(body)
                except TimeoutError:
                    raise UpstreamUnavailable(f"{self.model.name} did not answer in time") from None
                except ClientError as error:
                    raise self._error(error) from None
                except (NoCredentialsError, PartialCredentialsError) as error:
                    raise UpstreamUnauthorized(
                        f"{self.model.name}: no credentials for Bedrock: {error}"
                    ) from None
                except BotoCoreError as error:
                    raise UpstreamUnavailable(
                        f"{self.model.name} cannot be reached: {type(error).__name__}"
                    ) from None

    async def _exchange(self, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        response = await self._client.invoke_model(
            modelId=self._vendor_model,
            body=orjson.dumps(body),
            contentType="application/json",
            accept="application/json",
        )
        try:
            answer = orjson.loads(await response["body"].read())
        except orjson.JSONDecodeError:
            raise UpstreamInvalid(f"{self.model.name} answered something that is not JSON") from None
        if not isinstance(answer, dict):
            raise UpstreamInvalid(f"{self.model.name} answered in another shape")
        return answer, response["ResponseMetadata"]["HTTPHeaders"]

    def _error(self, error: ClientError) -> UpstreamError:
        said = error.response.get("Error", {})
        code = str(said.get("Code", "unknown"))
        metadata = error.response.get("ResponseMetadata", {})
        status = 429 if "Throttl" in code else int(metadata.get("HTTPStatusCode", 0))
        wait = metadata.get("HTTPHeaders", {}).get("retry-after", "")
        message = f"{self.model.name} answered {status}: {code}: {str(said.get('Message', ''))[:200]}"
        return error_of(status, code, message, float(wait) if wait.isdecimal() else None)

"""A language model of Amazon Bedrock, asked by `Converse`, which is the same for every family of models.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. Credentials are those of the process, as for the queues.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from devops_mcp.models.errors import (
    ConfigurationError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.outbound.chat import error_of


class BedrockChat:
    """`model` is a model's id or an inference profile's. Open with `open_bedrock_chat`."""

    def __init__(self, client: Any, model: str, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.model = model

    async def complete(self, system: str, prompt: str, *, max_tokens: int) -> str:
        """What the model writes. Raises an `UpstreamError`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._client.converse(
                    modelId=self.model,
                    system=[{"text": system}],
                    messages=[{"role": "user", "content": [{"text": prompt}]}],
                    inferenceConfig={"maxTokens": max_tokens, "temperature": 0.0},
                )
        except TimeoutError:
            raise UpstreamUnavailable(f"{self.model} did not answer in {self._timeout_s:g} s") from None
        except ClientError as error:
            raise self._error(error) from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise UpstreamUnauthorized(f"{self.model}: no credentials for Bedrock: {error}") from None
        except BotoCoreError as error:
            raise UpstreamUnavailable(f"{self.model} cannot be reached: {type(error).__name__}") from None
        return self._written(answer)

    def _written(self, answer: dict[str, Any]) -> str:
        """The texts of the answer; a model that reasons puts other blocks beside them."""
        blocks = answer.get("output", {}).get("message", {}).get("content") or ()
        texts = [block["text"] for block in blocks if "text" in block]
        if not texts:
            raise UpstreamInvalid(f"{self.model} answered without a text")
        return "".join(texts)

    def _error(self, error: ClientError) -> UpstreamError:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        found = error_of(429 if "Throttl" in code else status, f"{self.model} answered {status}: {code}")
        return found or UpstreamInvalid(f"{self.model} answered {status}: {code}")


@asynccontextmanager
async def open_bedrock_chat(
    model: str, *, region: str, endpoint_url: str | None, timeout_s: float
) -> AsyncIterator[BedrockChat]:
    """The model in a region, or at the endpoint of a VPC; nothing is asked yet, and each question once."""
    config = AioConfig(
        connect_timeout=3, read_timeout=timeout_s, retries={"mode": "standard", "total_max_attempts": 1}
    )
    created = get_session().create_client(
        "bedrock-runtime", region_name=region, endpoint_url=endpoint_url, config=config
    )
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(created)
        except ValueError as error:
            raise ConfigurationError(f"summary_model: the address of Bedrock is wrong: {error}") from None
        yield BedrockChat(client, model, timeout_s=timeout_s)

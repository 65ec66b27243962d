"""Language models, and those behind the OpenAI chat completions API, which OpenAI, Azure, vLLM, Ollama and others serve."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import httpx2
import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from devops_mcp.models.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.http import AddressRefused, guarded_client

MAX_ANSWER_BYTES = 1_000_000


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: list[_Choice]


class ChatModel(Protocol):
    """A language model that is asked once and answers with a text."""

    model: str

    async def complete(self, system: str, prompt: str, *, max_tokens: int) -> str:
        """What the model writes. Raises an `UpstreamError`."""
        ...


class OpenAiChat:
    """Open with `open_chat_model`."""

    def __init__(self, client: httpx2.AsyncClient, model: str) -> None:
        self._client = client
        self.model = model

    async def complete(self, system: str, prompt: str, *, max_tokens: int) -> str:
        asked = {
            "model": self.model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        body = await self._exchange(orjson.dumps(asked))
        try:
            completion = _Completion.model_validate_json(body)
            return completion.choices[0].message.content
        except (ValidationError, IndexError):
            raise UpstreamInvalid("the model's answer is no chat completion") from None

    async def _exchange(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._client.stream(
                "POST", "chat/completions", content=body, headers=headers
            ) as answer:
                said = f"the model answered {answer.status_code}"
                if (error := error_of(answer.status_code, said)) is not None:
                    raise error
                return await _read(answer)
        except AddressRefused as refused:
            raise UpstreamRejected(refused.message) from None
        except httpx2.HTTPError as error:
            raise UpstreamUnavailable(f"the model did not answer ({type(error).__name__})") from None


async def _read(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamInvalid(f"the model's answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def error_of(status: int, said: str) -> UpstreamError | None:
    """What a status means; None where it is no error."""
    if 200 <= status < 300:
        return None
    if status in (401, 403):
        return UpstreamUnauthorized(said)
    if status == 429:
        return UpstreamRateLimited(said)
    return UpstreamUnavailable(said) if status >= 500 else UpstreamRejected(said)


@asynccontextmanager
async def open_chat_model(
    base_url: str,
    model: str,
    api_key: SecretStr | None,
    private_networks: tuple[Network, ...],
    *,
    timeout_s: float,
) -> AsyncIterator[OpenAiChat]:
    """The model at `base_url`, such as `https://api.openai.com/v1`; nothing is asked yet."""
    headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
    url = base_url.rstrip("/") + "/"
    async with guarded_client(
        url, private_networks=private_networks, timeout_s=timeout_s, headers=headers
    ) as client:
        yield OpenAiChat(client, model)

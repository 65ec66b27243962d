"""How a provider calls its service over HTTP: one origin, bounded in time and size, behind policies of its own.

Computing a vector changes nothing, so every request may be sent again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import orjson

from devops_mcp.models.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.http import guarded_client
from devops_mcp.resilience.deadline import Deadline
from devops_mcp.resilience.policies import Policies

MAX_BYTES = 32_000_000
"""2,048 vectors of 1,536 dimensions as JSON come to some 30 MB; ours are asked for in batches far smaller."""
MAX_SAID = 300
QUOTA_USED_UP = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""OpenAI answers these with 429, and waiting helps with neither."""


class EmbeddingService:
    """One service that embeds. Raises an `UpstreamError`, which never holds our credentials, for whatever is not an answer."""

    def __init__(
        self,
        name: str,
        base_url: str,
        headers: Mapping[str, str],
        private_networks: tuple[Network, ...],
        *,
        timeout_s: float,
        policies: Policies | None = None,
    ) -> None:
        self.name = name
        self.policies = policies or Policies.named(f"embedding:{name}")
        self.timeout_s = timeout_s
        self._secrets = [value.removeprefix("Bearer ") for value in headers.values()]
        self._client = guarded_client(
            base_url, private_networks=private_networks, timeout_s=timeout_s, headers=dict(headers)
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def post(self, path: str, body: Mapping[str, Any], *, within_s: float) -> Any:
        """The JSON that the service answers."""
        deadline = Deadline.after(within_s)
        return await self.policies.retry.call(lambda: self._attempt(path, body, deadline), deadline)

    async def _attempt(self, path: str, body: Mapping[str, Any], deadline: Deadline) -> Any:
        async with self.policies.bulkhead.slot():
            with self.policies.breaker.guard():
                try:
                    async with asyncio.timeout(deadline.remaining()):
                        return await self._exchange(path, body)
                except TimeoutError:
                    raise UpstreamUnavailable(f"{self.name} did not answer in time") from None
                except httpx2.HTTPError as error:
                    raise UpstreamUnavailable(
                        f"{self.name} cannot be reached: {type(error).__name__}"
                    ) from None

    async def _exchange(self, path: str, body: Mapping[str, Any]) -> Any:
        content = bytearray()
        headers = {"content-type": "application/json"}
        async with self._client.stream("POST", path, content=orjson.dumps(body), headers=headers) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise UpstreamInvalid(f"{self.name} answered more than {MAX_BYTES} bytes")
        answer = _parsed(bytes(content))
        if response.status_code != 200:
            raise self._error(response, answer)
        if answer is None:
            raise UpstreamInvalid(f"{self.name} answered something that is not JSON")
        return answer

    def _error(self, response: httpx2.Response, answer: Any) -> UpstreamError:
        code, said = what_is_said(answer)
        for secret in self._secrets:
            said = said.replace(secret, "[redacted]")
        message = f"{self.name} answered {response.status_code}: {said[:MAX_SAID]}"
        return error_of(response.status_code, code, message, _wait_s(response.headers, answer))


def error_of(status: int, code: str, message: str, retry_after_s: float | None) -> UpstreamError:
    """The error that a status, and the service's own code for it, amount to."""
    if status in (401, 403) or code in QUOTA_USED_UP:
        return UpstreamUnauthorized(message)
    if status == 429:
        return UpstreamRateLimited(message, retry_after_s=retry_after_s)
    if status >= 500 or status == 408:
        return UpstreamUnavailable(message, retry_after_s=retry_after_s)
    return UpstreamNotFound(message) if status == 404 else UpstreamRejected(message)


def what_is_said(answer: Any) -> tuple[str, str]:
    """A code and a text, from the shapes in which these services put errors."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, str):
        return str(answer.get("error_type", "")), error
    if isinstance(error, dict):
        code = error.get("code") if isinstance(error.get("code"), str) else error.get("status")
        return str(code or error.get("type") or ""), " ".join(str(error.get("message", "nothing")).split())
    return "", "nothing"


def _parsed(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _wait_s(headers: Mapping[str, str], answer: Any) -> float | None:
    """When to come again: OpenAI's milliseconds, HTTP's seconds, or Google's `RetryInfo`."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if value.isascii() and value.isdecimal():
            return float(value) * unit_s
    return _google_wait_s(answer)


def _google_wait_s(answer: Any) -> float | None:
    error = answer.get("error") if isinstance(answer, dict) else None
    details: Sequence[Any] = error.get("details") or () if isinstance(error, dict) else ()
    for detail in details:
        delay = str(detail.get("retryDelay", "")) if isinstance(detail, dict) else ""
        if delay.endswith("s") and delay[:-1].replace(".", "", 1).isdecimal():
            return float(delay[:-1])
    return None

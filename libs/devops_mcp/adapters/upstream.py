"""How an adapter calls its system over HTTP: one origin, bounded in time and size, status codes turned into our errors.

Each attempt passes the integration's bulkhead and circuit breaker; reads are tried again, writes never are.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpx2
import orjson
from pydantic import JsonValue

from devops_mcp.adapters.base import Outside
from devops_mcp.models.errors import (
    InvalidInput,
    UpstreamError,
    UpstreamInvalid,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from devops_mcp.outbound.http import guarded_client
from devops_mcp.resilience.deadline import Deadline
from devops_mcp.resilience.policies import Policies

MAX_BYTES = 10_000_000
MAX_SAID = 500
MAX_RETRY_AFTER_S = 86_400.0
OK = frozenset(range(200, 300))
SAFE_METHODS = frozenset({"GET", "HEAD"})
MIN_SECRET = 12
"""A word of a header that is at least this long is taken for a credential when the system repeats it in an error."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; raises `UpstreamInvalid` when it is not."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise UpstreamInvalid(f"the answer is not JSON: {error}") from None

    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")


def path(*segments: str | int) -> str:
    """A path of percent-encoded segments: `path("repos", owner, name)` is `/repos/acme/shop`.

    A value can never leave its segment. Raises `InvalidInput` for an empty one and for `.` and `..`, which servers resolve.
    """
    for segment in segments:
        if str(segment) in ("", ".", ".."):
            raise InvalidInput(f"{str(segment)!r} cannot be part of a path")
    return "/" + "/".join(quote(str(segment), safe="") for segment in segments)


def file_path(value: str) -> tuple[str, ...]:
    """The segments of a path that a caller wrote with slashes, for `path(..., *file_path(value))`."""
    return tuple(segment for segment in value.split("/") if segment)


class Upstream:
    """One integration's connection to its system.

    Every request has a deadline over all of it, attempts and waits included, and reads at most `max_bytes`. What the system answers is
    raised as an `UpstreamError` unless its status is in `ok`; the message carries the system's own words, shortened, and never our
    credentials. `translate` is for a system with ways of its own to say no: it gives the error for a reply, or None for the usual one.
    """

    def __init__(
        self,
        system: str,
        base_url: str,
        outside: Outside,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        max_bytes: int = MAX_BYTES,
        translate: Callable[[Reply], UpstreamError | None] | None = None,
    ) -> None:
        self.system = system
        self.policies = outside.policies or Policies.named(system)
        self._base_url = base_url
        self._translate = translate
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        words = " ".join((headers or {}).values()).split()
        self._secrets = tuple(word.encode() for word in words if len(word) >= MIN_SECRET)
        self._private_networks = outside.private_networks
        self._client = guarded_client(
            base_url,
            private_networks=outside.private_networks,
            timeout_s=timeout_s,
            headers=dict(headers or {}),
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(
        self, path: str, *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return await self.request("GET", path, params=params, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: JsonValue = None,
        data: Mapping[str, str | Sequence[str]] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        ok: frozenset[int] = OK,
        timeout_s: float | None = None,
        safe: bool | None = None,
    ) -> Reply:
        """Send one request and return its whole answer. `path` must come from `path()`; parameters that are None are left out.

        `safe` says that the request changes nothing, so that it may be sent again after a retryable error; default: GET and HEAD are.
        """
        query = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            request = self._client.build_request(
                method, path, params=query or None, json=json, data=data, content=content, headers=headers
            )
        except httpx2.InvalidURL as error:
            raise InvalidInput(f"no request to {self.system} can be made of this: {error}") from None
        deadline = Deadline.after(timeout_s or self._timeout_s)
        if method in SAFE_METHODS if safe is None else safe:
            return await self.policies.retry.call(lambda: self._attempt(request, ok, deadline), deadline)
        return await self._attempt(request, ok, deadline)

    @asynccontextmanager
    async def fetch(self, url: str, *, timeout_s: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a URL that the system redirects to, such as a log download; our credentials stay behind, and it is not redirected again.

        The reader may stop early. Raises `UpstreamInvalid` for a URL that is not HTTP, or not HTTPS where the system is.
        """
        try:
            url = urljoin(self._base_url, url)
            scheme, secure = urlsplit(url).scheme, urlsplit(self._base_url).scheme == "https"
        except ValueError:
            raise UpstreamInvalid(f"{self.system} sent us to a download that is no URL") from None
        if scheme not in ("http", "https") or (secure and scheme != "https"):
            raise UpstreamInvalid(
                f"{self.system} sent us to a download by {scheme or 'no scheme'}, which we do not follow"
            )
        client = guarded_client("", private_networks=self._private_networks, timeout_s=timeout_s)
        try:
            async with client, asyncio.timeout(timeout_s), client.stream("GET", url) as response:
                if not response.is_success:
                    raise UpstreamUnavailable(
                        f"{self.system} sent us to a download that answered {response.status_code}"
                    )
                yield response.aiter_bytes()
        except TimeoutError:
            raise UpstreamUnavailable(f"{self.system}'s download took longer than {timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UpstreamUnavailable(f"{self.system}'s download failed: {type(error).__name__}") from None

    async def _attempt(self, request: httpx2.Request, ok: frozenset[int], deadline: Deadline) -> Reply:
        async with self.policies.bulkhead.slot():
            deadline.check(f"a call to {self.system}")
            with self.policies.breaker.guard():
                reply = await self._send(request, deadline.remaining())
                if reply.status not in ok:
                    raise self.error(self._redacted(reply))
                return reply

    async def _send(self, request: httpx2.Request, timeout_s: float) -> Reply:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request)
        except TimeoutError:
            raise UpstreamUnavailable(f"{self.system} did not answer within {timeout_s:.3g} s") from None
        except httpx2.HTTPError as error:
            raise UpstreamUnavailable(f"{self.system} cannot be reached: {type(error).__name__}") from None

    async def _exchange(self, request: httpx2.Request) -> Reply:
        response = await self._client.send(request, stream=True)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body)

    def _redacted(self, reply: Reply) -> Reply:
        """`reply` without what we sent to prove who we are, which some systems repeat."""
        body = reply.body
        for secret in self._secrets:
            body = body.replace(secret, b"[redacted]")
        return replace(reply, body=body)

    async def _read(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._max_bytes:
                raise UpstreamInvalid(
                    f"{self.system} answered more than {self._max_bytes} bytes; narrow the request"
                )
        return bytes(body)

    def error(self, reply: Reply) -> UpstreamError:
        """The error that `reply` amounts to."""
        own = self._translate(reply) if self._translate else None
        if own is not None:
            return own
        message = f"{self.system} answered {reply.status}: {said(reply)}"
        if reply.status == 404:
            return UpstreamNotFound(message)
        if reply.status in (401, 403):
            return UpstreamUnauthorized(message)
        if reply.status == 429:
            return UpstreamRateLimited(message, retry_after_s=retry_after_s(reply))
        if reply.status >= 500:
            return UpstreamUnavailable(message, retry_after_s=retry_after_s(reply))
        return UpstreamRejected(message)


def retry_after_s(reply: Reply) -> float | None:
    """The seconds of `Retry-After`, at most a day. A date (RFC 9110 §10.2.3) counts from the answer's own `Date`; None without either."""
    value = reply.headers.get("retry-after", "")
    if value.isascii() and value.isdecimal():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        sent, at = parsedate_to_datetime(reply.headers.get("date", "")), parsedate_to_datetime(value)
        return min(max(0.0, at.timestamp() - sent.timestamp()), MAX_RETRY_AFTER_S)
    except (ValueError, OverflowError):
        return None


def said(reply: Reply) -> str:
    """The system's own words in an error, at most `MAX_SAID` characters."""
    if 300 <= reply.status < 400:
        return "redirects are not followed; set base_url to where it leads"
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        content = None
    if isinstance(content, dict):
        for key in ("message", "error", "msg", "detail"):
            if isinstance(content.get(key), str):
                return " ".join(str(content[key])[:MAX_SAID].split())
    return " ".join(reply.text()[:MAX_SAID].split()) or "nothing"

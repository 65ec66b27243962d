"""Reading small JSON documents at addresses that anybody may name: bounded in time and size, never redirected, only where it may go."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlencode

import httpx2

from devops_mcp.models.errors import UpstreamError, UpstreamInvalid, UpstreamRejected, UpstreamUnavailable
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.http import AddressRefused, guarded_client

DEADLINE_S = 5.0
MAX_BYTES = 16_384
MAX_CONNECTIONS = 10
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})(?:$|[\s,])", re.IGNORECASE)
_LATER = frozenset({408, 425, 429})
"""Of 4xx: what asks to come again."""
_UNKEPT = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Document:
    """What stands there. `max_age_s` is how long its owner lets it be kept, None where the owner does not say."""

    body: bytes
    max_age_s: int | None


class DocumentReader:
    """Open with `open_document_reader`."""

    def __init__(self, client: httpx2.AsyncClient, deadline_s: float, max_bytes: int = MAX_BYTES) -> None:
        self._client = client
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s

    async def read(self, url: str, headers: Mapping[str, str] | None = None) -> Document:
        """The document.

        Raises `UpstreamRejected` where it is refused (most 4xx), `UpstreamUnavailable` where it cannot be had otherwise, `UpstreamInvalid`
        where it is no JSON or too large.
        """
        return await self._exchanged("GET", url, headers or {})

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Document:
        """What a form is answered with; raises as `read` does, also for every status but 200."""
        media_type = "application/x-www-form-urlencoded"
        return await self._exchanged(
            "POST", url, {**headers, "content-type": media_type}, urlencode(form).encode()
        )

    async def _exchanged(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Document:
        sent = {**headers, "accept": "application/json"}
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(method, url, headers=sent, content=body) as answer,
            ):
                return Document(
                    await _body(answer, self._max_bytes), _max_age(answer.headers.get("cache-control", ""))
                )
        except AddressRefused as error:
            raise UpstreamUnavailable(error.message) from None
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UpstreamUnavailable(f"it cannot be read ({type(error).__name__})") from None


@asynccontextmanager
async def open_document_reader(
    private_networks: tuple[Network, ...], *, deadline_s: float = DEADLINE_S, max_bytes: int = MAX_BYTES
) -> AsyncIterator[DocumentReader]:
    """A reader that may reach public addresses, and the networks that the operator has opened."""
    async with guarded_client(
        "", private_networks=private_networks, timeout_s=deadline_s, max_connections=MAX_CONNECTIONS
    ) as client:
        client.cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        yield DocumentReader(client, deadline_s, max_bytes)


async def _body(answer: httpx2.Response, max_bytes: int) -> bytes:
    if answer.status_code != 200:
        raise _refusal(answer.status_code)
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UpstreamInvalid("it is not sent as application/json")
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise UpstreamInvalid(f"it is larger than {max_bytes} bytes")
    return body


def _refusal(status: int) -> UpstreamError:
    said = f"it was answered {status}"
    return (
        UpstreamRejected(said) if 400 <= status < 500 and status not in _LATER else UpstreamUnavailable(said)
    )


def _max_age(cache_control: str) -> int | None:
    if _UNKEPT.search(cache_control):
        return 0
    found = _MAX_AGE.search(cache_control)
    return int(found[1]) if found else None

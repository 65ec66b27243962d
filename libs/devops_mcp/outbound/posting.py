"""Posting to addresses that tenants have given: bounded in time and size, never redirected, and only where it may go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from devops_mcp.models.errors import UpstreamUnavailable
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.http import AddressRefused, guarded_client

DEADLINE_S = 15.0
MAX_CONNECTIONS = 100
MAX_ANSWER_BYTES = 16_384
"""Of an answer's body; the rest is not read."""
BODY_S = 1.0
"""For an answer's body, which changes nothing: who sends it slowly would hold a place that others wait for, and never count as failing."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What was answered. Header names are lower case."""

    status: int
    headers: Mapping[str, str]


class Poster:
    """Open with `open_poster`."""

    def __init__(self, client: httpx2.AsyncClient, deadline_s: float) -> None:
        self._client = client
        self._deadline_s = deadline_s

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """The answer, whatever its status. Raises `UpstreamUnavailable` where there is none, or the address must not be reached."""
        posted: Posted | None = None
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream("POST", url, content=body, headers=dict(headers)) as answer,
            ):
                posted = Posted(answer.status_code, dict(answer.headers))
                await _read_a_little(answer)
        except (AddressRefused, TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            if posted is None:  # once the status is known, the rest of the answer changes nothing
                raise UpstreamUnavailable(self._why(error)) from None
        assert posted is not None
        return posted

    def _why(self, error: Exception) -> str:
        match error:
            case AddressRefused():
                return error.message
            case TimeoutError() | httpx2.TimeoutException():
                return f"no answer within {self._deadline_s:g} s"
            case httpx2.ConnectError():
                return "no connection"
            case _:
                return f"the exchange broke off ({type(error).__name__})"


@asynccontextmanager
async def open_poster(
    private_networks: tuple[Network, ...], *, deadline_s: float = DEADLINE_S
) -> AsyncIterator[Poster]:
    """A poster that may reach public addresses, and the networks that the operator has opened."""
    async with guarded_client(
        "", private_networks=private_networks, timeout_s=deadline_s, max_connections=MAX_CONNECTIONS
    ) as client:
        # One client posts for all tenants: what one's receiver sets must not go to another's.
        client.cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        yield Poster(client, deadline_s)


async def _read_a_little(answer: httpx2.Response) -> None:
    """So that a short answer ends cleanly, and its connection serves again."""
    left = MAX_ANSWER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_S):
            async for chunk in answer.aiter_raw():
                left -= len(chunk)
                if left <= 0:
                    return

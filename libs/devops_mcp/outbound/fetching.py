"""Reading small JSON documents from addresses outside: bounded in time and size, never redirected, and only where it may go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import orjson

from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import UpstreamInvalid, UpstreamUnavailable
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.http import AddressRefused, guarded_client

DEADLINE_S = 5.0
MAX_BYTES = 262_144
MAX_CONNECTIONS = 8


class Fetcher:
    """Open with `open_fetcher`."""

    def __init__(self, client: httpx2.AsyncClient, deadline_s: float) -> None:
        self._client = client
        self._deadline_s = deadline_s

    async def get(self, url: str) -> JsonObject:
        """The JSON object at `url`.

        Raises `UpstreamUnavailable` where there is no answer or the address must not be reached, `UpstreamInvalid` for any other answer.
        """
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream("GET", url, headers={"accept": "application/json"}) as answer,
            ):
                if answer.status_code >= 500:
                    raise UpstreamUnavailable(f"{url} answered {answer.status_code}")
                if answer.status_code != 200:
                    raise UpstreamInvalid(f"{url} answered {answer.status_code}")
                return _object_in(await _read(url, answer), url)
        except AddressRefused as error:
            raise UpstreamUnavailable(error.message) from None
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise UpstreamUnavailable(f"{url} did not answer ({type(error).__name__})") from None


@asynccontextmanager
async def open_fetcher(
    private_networks: tuple[Network, ...], *, deadline_s: float = DEADLINE_S
) -> AsyncIterator[Fetcher]:
    """A fetcher whose connections end with the block."""
    client = guarded_client(
        "", private_networks=private_networks, timeout_s=deadline_s, max_connections=MAX_CONNECTIONS
    )
    async with client:
        yield Fetcher(client, deadline_s)


async def _read(url: str, answer: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise UpstreamInvalid(f"{url} answered more than {MAX_BYTES} bytes")
    return bytes(content)


def _object_in(content: bytes, url: str) -> JsonObject:
    try:
        said = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise UpstreamInvalid(f"{url} did not answer JSON") from None
    if not isinstance(said, dict):
        raise UpstreamInvalid(f"{url} did not answer a JSON object")
    return said

"""An HTTP client that connects only where it may.

The filter works on the resolved address at the moment of connecting, so neither a spelling, a redirect nor a name that resolves anew
gets around it. httpx2 has no public place for a network backend; `guarded_client` is the one module that reaches into it.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable
from functools import cache
from typing import Any

import httpcore2
import httpx2
from httpcore2._backends.anyio import AnyIOBackend

from devops_mcp.models.errors import Forbidden
from devops_mcp.outbound.addresses import Network, may_reach

MAX_CONNECTIONS = 32


class AddressRefused(Forbidden):
    """The name resolves to an address that must not be reached."""

    code = "address_refused"


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks every answer, and connects to the first of the addresses checked that listens."""

    def __init__(self, private_networks: tuple[Network, ...]) -> None:
        self._private_networks = private_networks
        self._inner = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        *others, last = await allowed_addresses(host, port, self._private_networks, timeout_s=timeout)
        for address in others:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused(f"{path} is a socket of this machine and must not be reached")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def allowed_addresses(
    host: str, port: int, private_networks: tuple[Network, ...], *, timeout_s: float | None
) -> list[str]:
    """What the name resolves to.

    Raises `AddressRefused` when one of its addresses must not be reached; httpcore2's `ConnectError` or `ConnectTimeout` when it has none.
    """
    try:
        async with asyncio.timeout(timeout_s):
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore2.ConnectTimeout(f"{host} did not resolve in time") from None
    except (OSError, UnicodeError):
        raise httpcore2.ConnectError(f"{host} does not resolve") from None
    addresses = [str(info[4][0]) for info in infos]
    if not addresses or not all(may_reach(address, private_networks) for address in addresses):
        raise AddressRefused(
            f"{host} has an address that must not be reached; the operator can open its network (private_networks)"
        )
    return addresses


def guarded_client(
    base_url: str,
    *,
    private_networks: tuple[Network, ...],
    timeout_s: float,
    headers: dict[str, str] | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> httpx2.AsyncClient:
    """A client for one origin: no proxies or credentials from the environment, no redirects, connections only where they may go."""
    transport = httpx2.AsyncHTTPTransport(
        verify=_authorities(), trust_env=False, limits=httpx2.Limits(max_connections=max_connections)
    )
    transport._pool._network_backend = GuardedBackend(private_networks)
    return httpx2.AsyncClient(
        base_url=base_url,
        headers=headers,
        timeout=httpx2.Timeout(timeout_s),
        follow_redirects=False,
        trust_env=False,
        transport=transport,
    )


@cache
def _authorities() -> ssl.SSLContext:
    """Who is trusted to vouch for a name. Reading them takes some 25 ms, so it is done once."""
    return httpx2.create_ssl_context(trust_env=False)

"""Whether we may send to an address that a tenant names."""

import re

import httpcore2
import httpx2

from devops_mcp.models.errors import InvalidInput, Violation
from devops_mcp.outbound.addresses import Network, may_reach
from devops_mcp.outbound.http import AddressRefused, allowed_addresses

_RESOLVE_S = 3.0
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")


async def require_reachable(address: str, private_networks: tuple[Network, ...], where: str) -> None:
    """Raise `InvalidInput` for an address that we will not send to; `where` is its path in the body.

    It is decided again at each connection: a name can come to mean something else. A name that does not resolve passes.
    """
    url = _parsed(address, where)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        addresses = await allowed_addresses(url.host, port, private_networks, timeout_s=_RESOLVE_S)
    except AddressRefused as error:
        raise _refused(error.message, where) from None
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
        addresses = []
    opened = addresses and not any(may_reach(found) for found in addresses)
    if url.scheme != "https" and not opened:
        raise _refused("must be https, outside of the networks that the operator has opened", where)


def _parsed(address: str, where: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address)
    except httpx2.InvalidURL:
        raise _refused("is not an address", where) from None
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(url.raw_host):
        raise _refused("must be https", where)
    if url.userinfo or url.fragment:
        raise _refused("must hold neither a password nor a fragment", where)
    return url


def _refused(problem: str, where: str) -> InvalidInput:
    return InvalidInput(f"{where}: {problem}", (Violation(f"body.{where}", problem),))

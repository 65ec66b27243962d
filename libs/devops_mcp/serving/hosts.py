"""Which names a service answers to, and which browser pages may speak to it (against DNS rebinding and cross-site calls)."""

import ipaddress
import re
from collections.abc import Iterable

from devops_mcp.config import ServerSettings

_HOST = re.compile(r"([a-z0-9._-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
_REMEMBERED = 256


class HostPolicy:
    """Decides on `Host` and `Origin`, both as they stand in the request."""

    def __init__(self, settings: ServerSettings) -> None:
        self._names = frozenset(name.lower() for name in settings.allowed_hosts if not name.startswith("*."))
        self._suffixes = tuple(name[1:].lower() for name in settings.allowed_hosts if name.startswith("*."))
        self._origins = frozenset(origin.lower().encode("latin-1") for origin in settings.allowed_origins)
        self._known: dict[bytes, bool] = {}

    def serves(self, host: bytes) -> bool:
        """Whether this `Host` is one of ours, whatever its port. A name with a trailing dot is another name."""
        known = self._known.get(host)
        if known is None:
            known = self._decide(_name_of(host))
            if len(self._known) < _REMEMBERED:
                self._known[host] = known
        return known

    def listed(self, origin: bytes) -> bool:
        """Whether the operator listed this `Origin`."""
        return origin.lower() in self._origins

    def admits(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of this `Origin` may call: it is listed, or the page is our own. `null` is nobody's."""
        return self.listed(origin) or origin.lower() in _own_origins(host)

    def _decide(self, name: str | None) -> bool:
        return name is not None and (name in self._names or name.endswith(self._suffixes))


def is_address(host: bytes) -> bool:
    """Whether `Host` is an IP address: how load balancers and kubelets probe, and what DNS rebinding cannot forge."""
    name = _name_of(host)
    if name is None:
        return False
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _own_origins(host: bytes) -> Iterable[bytes]:
    lowered = host.lower()
    return (b"http://" + lowered, b"https://" + lowered)


def _name_of(host: bytes) -> str | None:
    match = _HOST.fullmatch(host.decode("latin-1").lower())
    return match[1] if match else None

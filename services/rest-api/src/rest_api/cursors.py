"""Cursors that only we make: each is good for one tenant, one route and the filters it was given for."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID

import orjson

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.errors import InvalidCursor

_MAC = 16
_NO_FILTERS = frozenset({"cursor", "limit", "fields"})
"""What may differ from page to page."""


class Cursors:
    """Signs with a key made of the newest master key, and takes what any of them signed."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.keys("cursors")

    def seal(self, position: str, scope: bytes) -> str:
        """What a client is given to go on from `position`."""
        body = position.encode()
        return base64.urlsafe_b64encode(_mac(self._keys[0], scope, body) + body).rstrip(b"=").decode()

    def open(self, cursor: str, scope: bytes) -> str:
        """The position. Raises `InvalidCursor`."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            mac, position = raw[:_MAC], raw[_MAC:].decode()
        except (binascii.Error, ValueError):
            raise _refused() from None
        if not any(hmac.compare_digest(_mac(key, scope, raw[_MAC:]), mac) for key in self._keys):
            raise _refused()
        return position


def scope_of(tenant_id: UUID, route: str, given: Mapping[str, str]) -> bytes:
    """What a cursor is bound to; `given` are the parameters as they were sent."""
    filters = {name: value for name, value in given.items() if name not in _NO_FILTERS}
    return orjson.dumps([str(tenant_id), route, filters], option=orjson.OPT_SORT_KEYS)


def _mac(key: bytes, scope: bytes, body: bytes) -> bytes:
    # BLAKE2 takes the key itself; HMAC by way of OpenSSL 3 costs several times as much for so little.
    return blake2b(len(scope).to_bytes(4, "big") + scope + body, key=key, digest_size=_MAC).digest()


def _refused() -> InvalidCursor:
    return InvalidCursor(
        "the cursor is not one that we gave for this list and these filters; begin anew without"
    )

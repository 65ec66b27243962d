"""The operator's master keys, and the keys made of them: one for each purpose, so that what one signs another never accepts."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import InvalidInput

_DIGEST = 32


class Keyring:
    """Keys derived from the master keys: the first makes, every one is accepted, so that a key can be exchanged while all runs."""

    def __init__(self, master_keys: Sequence[SecretStr]) -> None:
        self._masters = tuple(key.get_secret_value().encode() for key in master_keys)

    def __repr__(self) -> str:
        return f"Keyring({len(self._masters)} keys)"

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """32 bytes for each master key, newest first; the same purpose always gives the same."""
        return tuple(_derived(master, purpose) for master in self._masters)


class Signer:
    """Tokens that we gave and that come back: readable by who holds them, and only ours, for one purpose, for a time."""

    def __init__(self, keyring: Keyring, purpose: str) -> None:
        self._keys = keyring.keys(purpose)
        self._purpose = purpose

    def sign(self, content: JsonObject, expires_at: datetime) -> str:
        """A token that says `content` until `expires_at`."""
        body = orjson.dumps([int(expires_at.timestamp()), content], option=orjson.OPT_SORT_KEYS)
        return base64.urlsafe_b64encode(_mac(self._keys[0], body) + body).rstrip(b"=").decode()

    def read(self, token: str, now: datetime) -> JsonObject:
        """What a token says. Raises `InvalidInput` for one that is not ours, was changed, or has expired."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise self._refused("is not one that we gave") from None
        mac, body = raw[:_DIGEST], raw[_DIGEST:]
        if not any(hmac.compare_digest(_mac(key, body), mac) for key in self._keys):
            raise self._refused("is not one that we gave")
        expires, content = orjson.loads(body)
        if now.timestamp() >= expires:
            raise self._refused("has expired; ask for a new one")
        said: JsonObject = content
        return said

    def _refused(self, why: str) -> InvalidInput:
        return InvalidInput(f"the {self._purpose} {why}")


def _derived(master: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=_DIGEST, salt=None, info=f"devops-mcp {purpose}".encode()).derive(
        master
    )


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, sha256)

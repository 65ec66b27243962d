"""Secrets at rest: readable only with a master key, and only in the place they were sealed for."""

import os
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from devops_mcp.auth.keyring import Keyring
from devops_mcp.models.errors import Internal

KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_PURPOSE = "secrets at rest"


class SealBroken(Internal):
    """What was read is not what was sealed: moved, changed, or sealed with a key that is no longer there."""


class SecretSeal:
    """AES-256-GCM with keys made of the master keys: the newest seals, every one opens.

    What is sealed begins with its key's id, so that it can be found and sealed anew before a master key is taken away.
    """

    def __init__(self, keyring: Keyring) -> None:
        keys = keyring.keys(_PURPOSE)
        self._ciphers = {key_id_of(key): AESGCM(key) for key in keys}
        self.key_id = key_id_of(keys[0])

    def close(self, secret: SecretStr, place: str) -> bytes:
        """Seal for one place: the tenant, the row and the version that the secret belongs to. Elsewhere it does not open."""
        nonce = os.urandom(_NONCE_BYTES)
        content = secret.get_secret_value().encode()
        return self.key_id + nonce + self._ciphers[self.key_id].encrypt(nonce, content, place.encode())

    def open(self, sealed: bytes, place: str) -> SecretStr:
        """The secret. Raises `SealBroken`."""
        key_id, rest = sealed[:KEY_ID_BYTES], sealed[KEY_ID_BYTES:]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken(f"the secret of {place} is sealed with a key that is not among the master keys")
        try:
            content = cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError):
            raise SealBroken(f"the secret of {place} was changed, or sealed for another place") from None
        return SecretStr(content.decode())

    def is_current(self, sealed: bytes) -> bool:
        """Whether the newest key sealed it."""
        return sealed.startswith(self.key_id)


def key_id_of(key: bytes) -> bytes:
    """What tells the key that sealed something, and nothing of the key itself."""
    return sha256(b"id of " + key).digest()[:KEY_ID_BYTES]

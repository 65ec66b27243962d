"""Secrets at rest in an envelope: each with a key of its own, which is sealed with a master key.

A master key is exchanged by sealing these small keys anew; what they encrypt is not touched.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.sealing import KEY_ID_BYTES, SealBroken, key_id_of

_NONCE_BYTES = 12
_KEY_BYTES = 32
_WRAPPED_BYTES = _NONCE_BYTES + _KEY_BYTES + 16
_PURPOSE = "keys of secrets at rest"


class Envelope:
    """AES-256-GCM twice: the content with a key of its own, this key with the newest of the keys made of the master keys.

    What is sealed is the master key's id (8 bytes), the sealed key (60) and the sealed content. Both are bound to their place.
    """

    def __init__(self, keyring: Keyring) -> None:
        keys = keyring.keys(_PURPOSE)
        self._ciphers = {key_id_of(key): AESGCM(key) for key in keys}
        self.key_id = key_id_of(keys[0])

    def close(self, content: bytes, place: str, leads_to: str = "") -> bytes:
        """Seal for one place (the tenant, the row and its version) and for what it leads to. Elsewhere it does not open."""
        key = AESGCM.generate_key(_KEY_BYTES * 8)
        return self._wrapped(key, place) + _encrypted(AESGCM(key), content, f"{place}/{leads_to}")

    def open(self, sealed: bytes, place: str, leads_to: str = "") -> bytes:
        """The content. Raises `SealBroken`."""
        key = self._unwrapped(sealed, place)
        return _decrypted(AESGCM(key), sealed[KEY_ID_BYTES + _WRAPPED_BYTES :], f"{place}/{leads_to}")

    def anew(self, sealed: bytes, place: str) -> bytes:
        """The same, its key sealed with the newest master key; what it leads to need not be known. Raises `SealBroken`."""
        key = self._unwrapped(sealed, place)
        return self._wrapped(key, place) + sealed[KEY_ID_BYTES + _WRAPPED_BYTES :]

    def _wrapped(self, key: bytes, place: str) -> bytes:
        return self.key_id + _encrypted(self._ciphers[self.key_id], key, _for_key(place))

    def _unwrapped(self, sealed: bytes, place: str) -> bytes:
        cipher = self._ciphers.get(sealed[:KEY_ID_BYTES])
        if cipher is None:
            raise SealBroken(f"the secret of {place} is sealed with a key that is not among the master keys")
        return _decrypted(cipher, sealed[KEY_ID_BYTES : KEY_ID_BYTES + _WRAPPED_BYTES], _for_key(place))


def _for_key(place: str) -> str:
    """What is said of the place besides when it is a key that is sealed: one is never taken for the other."""
    return f"key of {place}"


def _encrypted(cipher: AESGCM, content: bytes, place: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, place.encode())


def _decrypted(cipher: AESGCM, sealed: bytes, place: str) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
    except (InvalidTag, ValueError):
        raise SealBroken(f"the secret of {place} was changed, or sealed for another place") from None

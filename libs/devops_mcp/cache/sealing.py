"""What replicas keep in Redis or tell one another there: unreadable and unchangeable to whoever only reaches Redis."""

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class Seal:
    """AES-GCM with keys of 32 bytes that all replicas share: the first seals, every one opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESGCM(key) for key in keys]

    def close(self, content: bytes, place: str) -> bytes:
        """The content sealed for one place, such as a Redis key: moved to another, it does not open."""
        nonce = os.urandom(_NONCE)
        return nonce + self._ciphers[0].encrypt(nonce, content, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes | None:
        """The content, or None where it is not ours, was changed, or was sealed for another place."""
        nonce, content = sealed[:_NONCE], sealed[_NONCE:]
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(nonce, content, place.encode())
            except (InvalidTag, ValueError):
                continue
        return None

"""API keys: `dm_<prefix>_<secret>`.

The prefix finds the row; of the secret, 256 random bits, only the SHA-256 is kept. A slow hash would add nothing against 256 bits.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from devops_mcp.models.principals import ApiKey

PREFIX_CHARS = 12
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_FORM = re.compile(rf"dm_([a-z0-9]{{{PREFIX_CHARS}}})_([A-Za-z0-9_-]{{43}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """A key in its two parts. It never shows its secret."""

    prefix: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyParts(prefix={self.prefix!r})"


def generate_key() -> str:
    """A new key; shown once, to the one who asked for it."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_CHARS))
    return f"dm_{prefix}_{secrets.token_urlsafe(32)}"


def with_new_secret(prefix: str) -> tuple[str, bytes]:
    """A key of this prefix with another secret, and the hash to keep of it."""
    secret = secrets.token_urlsafe(32)
    return f"dm_{prefix}_{secret}", hash_secret(secret)


def parse_key(key: str) -> KeyParts | None:
    """The key's parts; None when it is not of the form."""
    match = _FORM.fullmatch(key)
    return KeyParts(match[1], match[2]) if match else None


def hash_secret(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def is_valid(key: ApiKey, secret: str, now: datetime) -> bool:
    """Whether `secret` is the key's, and the key still in force; the comparison takes the same time wherever they differ."""
    hashed = hash_secret(secret)
    matches = hmac.compare_digest(key.secret_hash, hashed)
    matched_before = hmac.compare_digest(key.previous_hash or bytes(32), hashed)
    overlaps = key.previous_until is not None and now < key.previous_until
    good = matches or (matched_before and overlaps)
    return good and key.revoked_at is None and (key.expires_at is None or now < key.expires_at)

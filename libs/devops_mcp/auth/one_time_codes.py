"""Codes that are used once: those of the authorization endpoint, those that devices wait with, and those that people type.

Of each only the SHA-256 is kept. What people type is short, so attempts at it are limited where they are made.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from uuid import UUID

_BEGINS = "dmc_"
_SECRET_BYTES = 32
_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no words come about, and nothing that looks like a digit (RFC 8628 §6.1)."""
_TYPED = 8
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def hash_code(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "replace")).digest()


def new_authorization_code(tenant_id: UUID) -> str:
    """A code that names the tenant of its user, so that its row can be found; 256 random bits besides."""
    return _BEGINS + _encoded(tenant_id.bytes + secrets.token_bytes(_SECRET_BYTES))


def tenant_of_code(code: str) -> UUID | None:
    """The tenant that a code names; None for what is none of ours by its form."""
    if not code.startswith(_BEGINS) or len(code) > 100:
        return None
    try:
        raw = base64.urlsafe_b64decode(code.removeprefix(_BEGINS) + "==")
    except (binascii.Error, ValueError):
        return None
    return UUID(bytes=raw[:16]) if len(raw) == 16 + _SECRET_BYTES else None


def new_device_code() -> str:
    return secrets.token_urlsafe(_SECRET_BYTES)


def new_user_code() -> str:
    """`BCDF-GHJK`: 34 bits, to be typed."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_TYPED))
    return f"{letters[:4]}-{letters[4:]}"


def typed_user_code(typed: str) -> str | None:
    """A user code as it was given out, however it was typed; None for what cannot be one."""
    letters = re.sub(r"[^A-Z]", "", typed[:40].upper())
    if len(letters) != _TYPED or any(letter not in _ALPHABET for letter in letters):
        return None
    return f"{letters[:4]}-{letters[4:]}"


def is_challenge(challenge: str) -> bool:
    """Whether it has the form of a challenge of the method S256 (RFC 7636 §4.2)."""
    return _CHALLENGE.fullmatch(challenge) is not None


def answers_challenge(verifier: str, challenge: str) -> bool:
    """Whether `verifier` is what `challenge` was made of."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = _encoded(hashlib.sha256(verifier.encode()).digest())
    return hmac.compare_digest(made, challenge)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

"""Refresh tokens: `dmr_` and, in base64url, the tenant, the session, 256 random bits, and a tag.

Only the SHA-256 of the random bits is kept. The next one is made of the one before, of a salt kept with it, and of a key that is not in
the database: so who refreshes twice at once can be given the same one twice, and nobody can make it from the database alone. The tag
tells a token that was ours once, whose use again means that somebody has a copy, from one that never was, which means nothing.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from uuid import UUID

from devops_mcp.auth.keyring import Keyring

BEGINS = "dmr_"
_ID, _SECRET, _TAG = 16, 32, 16
_BYTES = _ID + _ID + _SECRET + _TAG


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token in its parts; whether it is good, its session says."""

    tenant_id: UUID
    session_id: UUID
    secret: bytes = field(repr=False)
    tag: bytes = field(repr=False)

    @property
    def hash(self) -> bytes:
        """What is kept of it."""
        return hashlib.sha256(self.secret).digest()

    def text(self) -> str:
        """What is given out."""
        raw = self.tenant_id.bytes + self.session_id.bytes + self.secret + self.tag
        return BEGINS + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parse_refresh_token(text: str) -> RefreshToken | None:
    """None for what is not of the form."""
    encoded = text.removeprefix(BEGINS)
    if encoded == text or len(encoded) > 2 * _BYTES:
        return None
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != _BYTES:
        return None
    ids, rest = raw[: 2 * _ID], raw[2 * _ID :]
    return RefreshToken(UUID(bytes=ids[:_ID]), UUID(bytes=ids[_ID:]), rest[:_SECRET], rest[_SECRET:])


class RefreshTokens:
    """Makes and recognises them."""

    def __init__(self, keyring: Keyring) -> None:
        self._tags = keyring.keys("refresh tokens: tag")
        self._next = keyring.keys("refresh tokens: next")

    def first(self, tenant_id: UUID, session_id: UUID) -> RefreshToken:
        """That of a new session."""
        return self._made(tenant_id, session_id, secrets.token_bytes(_SECRET))

    def after(self, token: RefreshToken, salt: bytes) -> RefreshToken:
        """The one to give for `token`."""
        return self._following(token, salt, self._next[0])

    def again(self, token: RefreshToken, salt: bytes, wanted_hash: bytes) -> RefreshToken | None:
        """What `after` once gave and of which this is the hash; None when that key is no longer there."""
        for key in self._next:
            following = self._following(token, salt, key)
            if hmac.compare_digest(following.hash, wanted_hash):
                return following
        return None

    def is_ours(self, token: RefreshToken) -> bool:
        """Whether it was given by us at some time."""
        return any(hmac.compare_digest(_tag(key, token), token.tag) for key in self._tags)

    def _following(self, token: RefreshToken, salt: bytes, key: bytes) -> RefreshToken:
        secret = hmac.digest(key, salt + token.secret, "sha256")
        return self._made(token.tenant_id, token.session_id, secret)

    def _made(self, tenant_id: UUID, session_id: UUID, secret: bytes) -> RefreshToken:
        bare = RefreshToken(tenant_id, session_id, secret, b"")
        return RefreshToken(tenant_id, session_id, secret, _tag(self._tags[0], bare))


def _tag(key: bytes, token: RefreshToken) -> bytes:
    said = token.tenant_id.bytes + token.session_id.bytes + token.secret
    return hmac.digest(key, said, "sha256")[:_TAG]

"""Access tokens: JWTs of the profile of RFC 9068, signed by a key of ours and good for ten minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devops_mcp.auth.signing_keys import ALGORITHM, SigningKey
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.ids import new_id

LIFETIME = timedelta(minutes=10)
LEEWAY = timedelta(seconds=30)
"""How far the clocks of two replicas may be apart."""
TYPE = "at+jwt"
MAX_CHARS = 8_192
_REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "tenant", "sid"]
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999."""


class SigningKeys(Protocol):
    """Where keys come from."""

    async def current(self) -> SigningKey:
        """The key that signs now. Raises `Unavailable`."""
        ...

    async def named(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key of exactly this name, while its signatures hold. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What an access token says: which user of which tenant lets which client do what, where, and by which session."""

    tenant_id: UUID
    user_id: UUID
    session_id: UUID
    client_id: str
    scopes: Sequence[str]
    audience: str


class AccessClaims(BaseModel):
    """The claims of a token that was found good. `exp` and `iat` count seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    iss: str
    sub: str
    aud: str
    exp: int = Field(ge=0, le=_LAST_SECOND)
    iat: int = Field(ge=0, le=_LAST_SECOND)
    jti: str
    client_id: str
    scope: str
    tenant: str
    sid: str

    @property
    def tenant_id(self) -> UUID:
        return UUID(self.tenant)

    @property
    def session_id(self) -> UUID:
        return UUID(self.sid)


class AccessTokens:
    """Issues and verifies. A token names its key, which is looked for among ours only; whatever else its header says is not followed."""

    def __init__(self, issuer: str, keys: SigningKeys, *, now: Clock = utc_now) -> None:
        self.issuer = issuer
        self._keys = keys
        self._now = now

    async def issue(self, grant: Grant) -> str:
        """A token for `grant.audience`. Raises `Unavailable`."""
        key = await self._keys.current()
        now = int(self._now().timestamp())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": str(grant.user_id),
            "aud": grant.audience,
            "exp": now + int(LIFETIME.total_seconds()),
            "iat": now,
            "jti": new_id().hex,
            "client_id": grant.client_id,
            "scope": " ".join(grant.scopes),
            "tenant": str(grant.tenant_id),
            "sid": str(grant.session_id),
        }
        return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TYPE})

    async def verify(self, token: str, audience: str) -> AccessClaims:
        """What a token of ours for exactly this audience says.

        Raises `Unauthenticated`, always alike, and `Unavailable` when the keys cannot be read.
        """
        key = await self._keys.named(_kid_of(token))
        if key is None:
            raise refused()
        try:
            claims = AccessClaims.model_validate(_decoded(token, key, self.issuer, audience))
            _ = claims.tenant_id, claims.session_id
        except (jwt.InvalidTokenError, ValidationError, ValueError):
            raise refused() from None
        return claims


def refused() -> Unauthenticated:
    """One answer for every fault: which one it was helps only who guesses."""
    return Unauthenticated("the access token is not valid")


def looks_like_jwt(credential: str) -> bool:
    """Three parts, the first a JSON object; no API key looks so."""
    return credential.startswith("eyJ") and credential.count(".") == 2


def header_of(token: str) -> dict[str, Any]:
    """A JWT's header, believed in nothing. Raises `Unauthenticated` for what is none, or is too large."""
    if len(token) > MAX_CHARS or not token.isascii():
        raise refused()
    try:
        return jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise refused() from None


def _kid_of(token: str) -> str:
    header = header_of(token)
    kid, kind = header.get("kid"), header.get("typ")
    if header.get("alg") != ALGORITHM or not isinstance(kid, str) or not isinstance(kind, str):
        raise refused()
    if kind.lower().removeprefix("application/") != TYPE or "crit" in header:
        raise refused()
    return kid


def _decoded(token: str, key: EllipticCurvePublicKey, issuer: str, audience: str) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[ALGORITHM],
        audience=audience,
        issuer=issuer,
        leeway=LEEWAY,
        options={"require": _REQUIRED, "strict_aud": True},
    )

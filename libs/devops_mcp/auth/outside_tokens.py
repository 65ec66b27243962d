"""Tokens of outside identity providers (OpenID Connect): found good by the keys that the provider publishes."""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from devops_mcp.auth.access_tokens import LEEWAY, header_of, refused
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import PlatformError, Unavailable, UpstreamInvalid
from devops_mcp.outbound.documents import DocumentReader

log = structlog.get_logger()

DISCOVERY = "/.well-known/openid-configuration"
ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "ES384", "EdDSA"})
"""All asymmetric. A symmetric one would let whoever can verify also sign."""
KEYS_BELIEVED = timedelta(hours=1)
KEYS_KEPT = timedelta(hours=24)
"""How long they are believed while the provider does not answer."""
MAX_DOCUMENT = 262_144
"""Bytes of what a provider says of itself, and of its keys."""
LOOK_AGAIN = timedelta(seconds=30)
"""How soon the keys are asked for again, whatever names of keys strangers make up."""
MIN_RSA_BITS = 2_048
MAX_SUBJECT = 255
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
_ID_TOKEN_ONLY = frozenset({"nonce", "at_hash", "c_hash"})
"""Claims of ID tokens, which say to a client who signed in, and to nobody what the client may."""


class Provider(Protocol):
    """What the operator has said of an identity provider."""

    @property
    def issuer(self) -> str: ...

    @property
    def audiences(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class OutsideIdentity:
    """Who a good token speaks of. `provider` is its place among those configured.

    `unheard`: the provider was asked for more than the token says, and did not answer.
    """

    provider: int
    issuer: str
    subject: str
    claims: dict[str, Any]
    unheard: bool = False


class ProviderKeys:
    """The published keys of one issuer: found by discovery, asked for anew each hour, and for the sake of a new name."""

    def __init__(
        self, issuer: str, documents: DocumentReader, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.issuer = issuer
        self._documents = documents
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._described: JsonObject = {}
        self._read_at: float | None = None
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def named(self, kid: str) -> jwt.PyJWK | None:
        """The key of exactly this name. Raises `Unavailable` when the provider cannot be asked and nothing is known of its keys."""
        known = self._keys.get(kid)
        if known is not None and self._age_s() < KEYS_BELIEVED.total_seconds():
            return known
        await self._look()
        return self._keys.get(kid)

    async def described(self) -> JsonObject:
        """What the provider says of itself (OpenID Connect Discovery 1.0 §3). Raises as `named` does."""
        if self._age_s() >= KEYS_BELIEVED.total_seconds():
            await self._look()
        return self._described

    async def _look(self) -> None:
        async with self._asking:
            if self._may_ask():
                await self._ask()
        if self._age_s() > KEYS_KEPT.total_seconds():
            raise Unavailable(f"the identity provider {self.issuer} does not answer", retry_after_s=30)

    def _age_s(self) -> float:
        return float("inf") if self._read_at is None else self._monotonic() - self._read_at

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._monotonic() - self._asked_at >= LOOK_AGAIN.total_seconds()

    async def _ask(self) -> None:
        self._asked_at = self._monotonic()
        try:
            self._described, self._keys = await self._published()
            self._read_at = self._monotonic()
        except PlatformError as error:
            log.warning("identity provider not read", issuer=self.issuer, error=error.message)

    async def _published(self) -> tuple[JsonObject, dict[str, jwt.PyJWK]]:
        described = await self._read(self.issuer.rstrip("/") + DISCOVERY)
        address = described.get("jwks_uri")
        if described.get("issuer") != self.issuer:
            raise UpstreamInvalid(f"{self.issuer} calls itself {str(described.get('issuer'))[:200]!r}")
        if not isinstance(address, str) or not address.startswith(self.issuer.partition("://")[0] + "://"):
            raise UpstreamInvalid(f"{self.issuer} does not say where its keys are")
        listed = (await self._read(address)).get("keys")
        keys = [_usable(one) for one in listed] if isinstance(listed, list) else []
        return described, {key.key_id: key for key in keys if key is not None and key.key_id is not None}

    async def _read(self, address: str) -> JsonObject:
        document = await self._documents.read(address)
        try:
            said = orjson.loads(document.body)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            raise UpstreamInvalid(f"{address} is no JSON object")
        return said


class OutsideTokens:
    """Verifies tokens of the configured providers, each by the keys of its own issuer only."""

    def __init__(
        self,
        providers: Sequence[Provider],
        documents: DocumentReader,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = providers
        issuers = {provider.issuer for provider in providers}
        self._keys = {issuer: ProviderKeys(issuer, documents, monotonic=monotonic) for issuer in issuers}

    def knows(self, issuer: str) -> bool:
        return issuer in self._keys

    async def verify(self, token: str, issuer: str) -> OutsideIdentity:
        """Who the token speaks of. Raises `Unauthenticated`, always alike, and `Unavailable` while its keys are not known."""
        key = await self._key_of(token, issuer)
        for number, provider in enumerate(self._providers):
            if provider.issuer == issuer and (claims := _claims(token, key, provider)) is not None:
                return OutsideIdentity(number, issuer, claims["sub"], claims)
        raise refused()

    async def verify_id_token(
        self, token: str, provider: int, *, client_id: str, nonce: str
    ) -> OutsideIdentity:
        """Who signed in with this provider at the client `client_id`, where `nonce` was asked for. Raises as `verify` does."""
        issuer = self._providers[provider].issuer
        key = await self._key_of(token, issuer)
        claims = _decoded(token, key, issuer, (client_id,))
        if claims is None or not hmac.compare_digest(str(claims.get("nonce")).encode(), nonce.encode()):
            raise refused()
        # OpenID Connect Core 1.0 §3.1.3.7: a token for several says which of them it was given to.
        if claims.get("azp", client_id if isinstance(claims["aud"], str) else None) != client_id:
            raise refused()
        return OutsideIdentity(provider, issuer, claims["sub"], claims)

    async def described(self, issuer: str) -> JsonObject:
        """What the provider of this issuer says of itself. Raises `Unavailable`."""
        return await self._keys[issuer].described()

    async def _key_of(self, token: str, issuer: str) -> jwt.PyJWK:
        """The key of this issuer that a token says it is signed with."""
        header = header_of(token)
        kid, kind = header.get("kid"), header.get("typ") or ""
        if not isinstance(kid, str) or not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise refused()
        key = await self._keys[issuer].named(kid) if issuer in self._keys else None
        if key is None or "crit" in header or header.get("alg") != key.algorithm_name:
            raise refused()
        return key


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """What the claim of this name says, `realm_access.roles` being one within another; None where there is none."""
    if name in claims:  # some are addresses, with dots of their own
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def issuer_of(token: str) -> str:
    """Who a token says has issued it, which decides nothing but whose keys are looked at. Raises `Unauthenticated`."""
    header_of(token)
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise refused() from None
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise refused()
    return issuer


def _usable(jwk: object) -> jwt.PyJWK | None:
    """A key for signatures, of an algorithm that we take; None for any other, which a provider may well publish too."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or jwk.get("kty") == "oct":
        return None
    try:
        key = jwt.PyJWK(jwk)
    except jwt.PyJWTError:
        return None
    weak = isinstance(key.key, RSAPublicKey) and key.key.key_size < MIN_RSA_BITS
    return None if weak or key.algorithm_name not in ALGORITHMS else key


def _claims(token: str, key: jwt.PyJWK, provider: Provider) -> dict[str, Any] | None:
    """What an access token of this provider, for one of its audiences, says; None when it is none."""
    claims = _decoded(token, key, provider.issuer, provider.audiences)
    return None if claims is None or _ID_TOKEN_ONLY & claims.keys() else claims


def _decoded(token: str, key: jwt.PyJWK, issuer: str, audiences: Sequence[str]) -> dict[str, Any] | None:
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=list(audiences),
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None
    times = all(type(claims.get(name, 0)) in (int, float) for name in ("exp", "iat", "nbf"))
    subject = claims["sub"]
    plain = 0 < len(subject) <= MAX_SUBJECT and "\0" not in subject
    return claims if times and plain else None

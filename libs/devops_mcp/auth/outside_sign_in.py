"""Signing in at an outside identity provider: OpenID Connect's authorization code flow, with PKCE, state and nonce.

The provider's answer counts only for the journey that it is of: its state names the journey, its code is worth nothing without the
verifier, its ID token carries the nonce, and where the provider names itself in the answer it must be the one that was gone to (RFC 9207).
What the ID token leaves out is asked for at the provider's UserInfo endpoint, where it has one (OpenID Connect Core 1.0 §5.3).
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote_plus

import orjson
import structlog
from pydantic import SecretStr

from devops_mcp.auth.access_tokens import refused
from devops_mcp.auth.outside_tokens import OutsideIdentity, OutsideTokens, claim_of
from devops_mcp.auth.redirects import with_parameters
from devops_mcp.models.base import JsonObject
from devops_mcp.models.errors import (
    PlatformError,
    Unauthenticated,
    Unavailable,
    UpstreamInvalid,
    UpstreamRejected,
    UpstreamUnavailable,
)
from devops_mcp.outbound.documents import DocumentReader

log = structlog.get_logger()

_RANDOM_BYTES = 32
_USERINFO = "userinfo_endpoint"
_VERIFIED = "email_verified"
_AUTH_METHODS = "token_endpoint_auth_methods_supported"


class Registration(Protocol):
    """The client that a provider knows us by. `name` is what people call the provider."""

    @property
    def name(self) -> str: ...

    @property
    def client_id(self) -> str: ...

    @property
    def client_secret(self) -> SecretStr | None: ...

    @property
    def scopes(self) -> Sequence[str]: ...


class SignInProvider(Protocol):
    """What the operator has said of an identity provider; one without `sign_in` only issues access tokens."""

    @property
    def issuer(self) -> str: ...

    @property
    def sign_in(self) -> Registration | None: ...

    @property
    def roles_claim(self) -> str: ...

    @property
    def roles(self) -> Mapping[str, Sequence[str]]: ...


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What a code was exchanged for."""

    id_token: str
    access_token: str | None


@dataclass(frozen=True, slots=True)
class Journey:
    """A sign-in under way at the provider with this place among those configured: what its answer is bound to."""

    provider: int
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


class OutsideSignIn:
    """Sends people to providers, and finds out who came back to `redirect_uri`."""

    def __init__(
        self,
        providers: Sequence[SignInProvider],
        tokens: OutsideTokens,
        documents: DocumentReader,
        redirect_uri: str,
    ) -> None:
        self._issuers = [provider.issuer for provider in providers]
        self._providers = providers
        self._registrations = {
            number: provider.sign_in for number, provider in enumerate(providers) if provider.sign_in
        }
        self._tokens = tokens
        self._documents = documents
        self._redirect_uri = redirect_uri

    @property
    def names(self) -> Mapping[int, str]:
        """The providers that people can sign in at, by their places."""
        return {number: registration.name for number, registration in self._registrations.items()}

    async def begin(self, provider: int) -> tuple[str, Journey]:
        """Where to send somebody, and what to keep until the answer comes. Raises `Unavailable` while the provider cannot be asked."""
        registration = self._registrations[provider]
        described = await self._tokens.described(self._issuers[provider])
        journey = Journey(provider, _random(), _random(), _random())
        asked = {
            "response_type": "code",
            "client_id": registration.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *registration.scopes))),
            "state": journey.state,
            "nonce": journey.nonce,
            "code_challenge": _challenge(journey.verifier),
            "code_challenge_method": "S256",
        }
        return with_parameters(self._endpoint(described, provider, "authorization_endpoint"), asked), journey

    async def finish(self, journey: Journey, answered: Mapping[str, str]) -> OutsideIdentity:
        """Who signed in. Raises `Unauthenticated` for any answer that is not the journey's own, `Unavailable` as `begin` does."""
        name, issuer = self._registrations[journey.provider].name, self._issuers[journey.provider]
        described = await self._tokens.described(issuer)
        names_itself = described.get("authorization_response_iss_parameter_supported") is True
        if answered.get("iss", None if names_itself else issuer) != issuer or "code" not in answered:
            raise Unauthenticated(f"{name} did not sign you in")
        tokens = await self._exchanged(journey, answered["code"], described)
        client_id = self._registrations[journey.provider].client_id
        try:
            identity = await self._tokens.verify_id_token(
                tokens.id_token, journey.provider, client_id=client_id, nonce=journey.nonce
            )
            return await self._completed(identity, tokens.access_token, described)
        except Unauthenticated:
            raise Unauthenticated(f"what {name} said of you cannot be believed") from None

    async def _completed(
        self, identity: OutsideIdentity, access_token: str | None, described: JsonObject
    ) -> OutsideIdentity:
        """With what the provider says elsewhere, where the ID token leaves out what we look at.

        Raises `Unauthenticated` where that is said of somebody else, and where roles are missing and it is nothing that can be read;
        `Unavailable` where roles are missing and the provider does not say it now.
        """
        no_roles = self._lacks_roles(identity)
        if access_token is None or _USERINFO not in described:
            return identity
        if not (no_roles or self._lacks_address(identity)):
            return identity
        try:
            more = await self._told(self._endpoint(described, identity.provider, _USERINFO), access_token)
        except (Unavailable, UpstreamUnavailable):
            if no_roles:
                raise not_heard(identity) from None
            return replace(identity, unheard=True)
        if more is None and not no_roles:
            return identity
        if more is None or more.get("sub") != identity.subject:
            raise refused()
        return replace(identity, claims=_with(identity.claims, more))

    async def _told(self, endpoint: str, access_token: str) -> JsonObject | None:
        """What the endpoint says of whoever has the token; None where it refuses to, or in no form that we read.

        Raises `UpstreamUnavailable`.
        """
        try:
            answer = await self._documents.read(endpoint, {"authorization": f"Bearer {access_token}"})
            said = orjson.loads(answer.body)
        except (UpstreamRejected, UpstreamInvalid, orjson.JSONDecodeError) as error:
            log.warning("identity provider tells nothing more", endpoint=endpoint, error=str(error))
            return None
        return said if isinstance(said, dict) else None

    def _lacks_roles(self, identity: OutsideIdentity) -> bool:
        """Whether the ID token leaves out the roles that the operator has asked for."""
        provider = self._providers[identity.provider]
        return bool(provider.roles) and claim_of(identity.claims, provider.roles_claim) is None

    def _lacks_address(self, identity: OutsideIdentity) -> bool:
        """Whether it leaves out the address that the operator has asked for."""
        return "email" in self._registrations[identity.provider].scopes and "email" not in identity.claims

    async def _exchanged(self, journey: Journey, code: str, described: JsonObject) -> _Tokens:
        registration = self._registrations[journey.provider]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": journey.verifier,
        }
        headers = _authentication(registration, described, form)
        endpoint = self._endpoint(described, journey.provider, "token_endpoint")
        try:
            answer = await self._documents.post_form(endpoint, form, headers)
            given = orjson.loads(answer.body)
            token, access_token = given["id_token"], given.get("access_token")
        except (PlatformError, orjson.JSONDecodeError, KeyError, TypeError):
            token = access_token = None
        if not isinstance(token, str):
            raise Unauthenticated(f"{registration.name} does not say who you are")
        return _Tokens(token, access_token if isinstance(access_token, str) else None)

    def _endpoint(self, described: JsonObject, provider: int, which: str) -> str:
        address, issuer = described.get(which), self._issuers[provider]
        if not isinstance(address, str) or not address.startswith(issuer.partition("://")[0] + "://"):
            raise Unavailable(f"the identity provider {issuer} does not say where its {which} is")
        return address


def not_heard(identity: OutsideIdentity) -> Unavailable:
    """The error where it takes what the provider does not say just now."""
    return Unavailable(f"{identity.issuer} does not say who you are", retry_after_s=5)


def _authentication(
    registration: Registration, described: JsonObject, form: dict[str, str]
) -> dict[str, str]:
    """The headers by which we prove who we are, or none and more in the form (RFC 6749 §2.3.1)."""
    if registration.client_secret is None:
        form["client_id"] = registration.client_id
        return {}
    secret = registration.client_secret.get_secret_value()
    methods = described.get(_AUTH_METHODS, ["client_secret_basic"])
    if isinstance(methods, list) and "client_secret_basic" not in methods:
        form |= {"client_id": registration.client_id, "client_secret": secret}
        return {}
    pair = f"{quote_plus(registration.client_id)}:{quote_plus(secret)}"
    return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _with(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """What the ID token says, and what it does not; an address goes with its own word on whether it is verified."""
    if "email" in claims:
        more = {name: value for name, value in more.items() if name != _VERIFIED}
    else:
        claims = {name: value for name, value in claims.items() if name != _VERIFIED}
    return _merged(more, claims)


def _merged(these: dict[str, Any], those: dict[str, Any]) -> dict[str, Any]:
    """The members of both, of objects within them too; where both say something else, what `those` say."""
    merged = {**these, **those}
    for name in these.keys() & those.keys():
        if isinstance(these[name], dict) and isinstance(those[name], dict):
            merged[name] = _merged(these[name], those[name])
    return merged


def _random() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

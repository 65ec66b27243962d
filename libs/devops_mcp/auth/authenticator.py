"""From a request's headers to its principal."""

import asyncio
import base64
import binascii
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import SecretStr

from devops_mcp.auth.access_tokens import looks_like_jwt
from devops_mcp.auth.api_keys import hash_secret, is_valid, parse_key
from devops_mcp.models.base import Clock, utc_now
from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.principals import FoundKey, Principal

REMEMBERED_S = 3.0
"""How long a key found is believed without looking again; revocation takes effect within it."""
REMEMBERED_KEYS = 10_000

_HINT = "send 'Authorization: Bearer <access token or API key>' or 'X-API-Key: <API key>'"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential by its digest, and the way to whom it belongs. It never shows what it is."""

    digest: bytes = field(repr=False)
    find: Callable[[], Awaitable[Principal]] = field(repr=False)


class Guesses(Protocol):
    """Holds an address to so many credentials that are not valid."""

    def require_room(self) -> None:
        """Raises `RateLimited` where the caller's address has shown too many of late."""
        ...

    async def count(self) -> None:
        """The caller's address has shown one more."""
        ...


class Authenticator:
    """Finds the principal behind an API key, an access token (`bearer`), or a username and password (`basic`).

    They are taken from headers only: a URL ends up in logs. Absent, malformed, unknown, revoked and expired keys are answered alike.
    """

    def __init__(
        self,
        find_keys: Callable[[str], Awaitable[list[FoundKey]]],
        *,
        basic: Callable[[str, SecretStr], Awaitable[Principal]] | None = None,
        bearer: Callable[[str], Awaitable[Principal]] | None = None,
        guesses: Guesses | None = None,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find_keys = find_keys
        self._basic = basic
        self._bearer = bearer
        self._guesses = guesses
        self._memory_key = secrets.token_bytes(32)
        self._now = now
        self._monotonic = monotonic
        self._remembered: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._looked_up: dict[bytes, asyncio.Task[Principal]] = {}

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """The caller; `headers` has lower-case names. Raises as `credential` does, or `Unavailable` when keys cannot be looked up."""
        return await self.whose(self.credential(headers))

    async def principal_of(self, key: str) -> Principal:
        """The owner of an API key or access token; raises as `authenticate` does."""
        return await self.whose(self._of_key(key))

    def credential(self, headers: Mapping[str, str]) -> Credential:
        """What a caller shows, read once for all that it asks over one connection.

        Raises `Unauthenticated`, or `RateLimited` for one that is new to us from an address that guesses.
        """
        found = _credential(headers, basic=self._basic is not None)
        shown = self._of_key(found) if isinstance(found, str) else self._of_password(*found)
        if self._guesses is not None and shown.digest not in self._remembered:
            self._guesses.require_room()
        return shown

    def remembered(self, credential: Credential) -> Principal | None:
        """Whom it belonged to a moment ago; None where that has to be found out."""
        known = self._remembered.get(credential.digest)
        return known[1] if known is not None and self._monotonic() < known[0] else None

    async def whose(self, credential: Credential) -> Principal:
        """Whom it belongs to now; raises as `authenticate` does. However many ask for it at once, it is looked up once."""
        if (known := self.remembered(credential)) is not None:
            return known
        finding = self._looked_up.get(credential.digest)
        if finding is None:
            finding = self._looked_up[credential.digest] = asyncio.create_task(self._find(credential))
            finding.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(finding)

    def _of_key(self, key: str) -> Credential:
        return Credential(hash_secret(key), lambda: self._look_up(key))

    def _of_password(self, username: str, password: str) -> Credential:
        basic = self._basic
        assert basic is not None
        digest = hmac.digest(self._memory_key, f"{username}\0{password}".encode("utf-8", "replace"), "sha256")
        return Credential(digest, lambda: basic(username, SecretStr(password)))

    async def _find(self, credential: Credential) -> Principal:
        try:
            principal = await credential.find()
            self._remember(credential.digest, principal)
            return principal
        except Unauthenticated:
            self._remembered.pop(credential.digest, None)
            if self._guesses is not None:
                await self._guesses.count()
            raise
        finally:
            del self._looked_up[credential.digest]

    async def _look_up(self, key: str) -> Principal:
        if self._bearer is not None and looks_like_jwt(key):
            return await self._bearer(key)
        parts = parse_key(key)
        if parts is None:
            raise Unauthenticated("the API key is not valid")
        now = self._now()
        for found in await self._find_keys(parts.prefix):
            if is_valid(found, parts.secret, now):
                return found.principal()
        raise Unauthenticated("the API key is not valid")

    def _remember(self, digest: bytes, principal: Principal) -> None:
        self._remembered[digest] = (self._monotonic() + REMEMBERED_S, principal)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > REMEMBERED_KEYS:
            self._remembered.popitem(last=False)


def _credential(headers: Mapping[str, str], *, basic: bool) -> str | tuple[str, str]:
    """An API key, or a username and its password where these are taken."""
    key, authorization = headers.get("x-api-key"), headers.get("authorization", "")
    scheme, _, credential = authorization.partition(" ")
    if key:
        if authorization and (scheme.lower(), credential.strip()) != ("bearer", key):
            raise Unauthenticated("X-API-Key and Authorization hold different credentials; send one of them")
        return key
    if basic and scheme.lower() == "basic":
        return _username_and_password(credential.strip())
    if scheme.lower() != "bearer" or not credential:
        raise Unauthenticated(f"this needs a credential; {_HINT}")
    return credential.strip()


def _username_and_password(encoded: str) -> tuple[str, str]:
    """RFC 7617, in UTF-8."""
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Unauthenticated("the Basic credential is not base64 of 'username:password'") from None
    if not colon:
        raise Unauthenticated("the Basic credential is not base64 of 'username:password'")
    return username, password

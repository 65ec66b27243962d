"""How webhooks prove who sent them: one table-driven check over the raw bytes, before anything is parsed.

A vendor's way is a value (`HmacSha256`, `SharedToken`), so an adapter names its scheme and verifies nothing by hand. Every comparison takes
the same time whatever the sender guessed, and goes through all secrets in force.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Literal, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import SecretStr

from devops_mcp.adapters.base import Delivery
from devops_mcp.models.errors import Unauthenticated

TOLERANCE = timedelta(minutes=5)
_HEX = re.compile(r"[0-9a-f]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{43}=")
_BASE64_OF_64 = re.compile(r"[A-Za-z0-9+/]{85}[AQgw]==")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_PART = re.compile(r"\{(body|ts|id)\}")


def plain_key(secret: str) -> tuple[bytes, ...]:
    """The secret's own bytes."""
    return (secret.encode(),)


def standard_webhooks_key(secret: str) -> tuple[bytes, ...]:
    """The base64-decoded part behind `whsec_` (https://www.standardwebhooks.com). A public key, which anybody may know, signs nothing."""
    return () if secret.startswith("whpk_") else _decoded(secret.removeprefix("whsec_"))


def standard_webhooks_public_key(secret: str) -> tuple[bytes, ...]:
    """The base64-decoded part behind `whpk_`, where there is one."""
    return _decoded(secret.removeprefix("whpk_")) if secret.startswith("whpk_") else ()


def _decoded(text: str) -> tuple[bytes, ...]:
    try:
        return (base64.b64decode(text, validate=True),)
    except ValueError:  # not base64, or not even ASCII
        return ()


@dataclass(frozen=True, slots=True)
class HmacSha256:
    """HMAC-SHA256 in a header: `prefix` and then the digest, in lower-case hex or padded base64, nothing else.

    `text` is what is signed, of `{body}`, `{ts}` and `{id}`, the latter two from the headers named; a timestamp must lie within `tolerance`
    of the arrival. `separator` is set where the header may carry several signatures, of which one must fit. No body that begins with a
    digit is taken: it could be the end of a header that was signed before it. JSON objects never do.
    """

    header: str
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    text: str = "{body}"
    timestamp_header: str | None = None
    id_header: str | None = None
    separator: str | None = None
    keys: Callable[[str], tuple[bytes, ...]] = plain_key
    tolerance: timedelta = TOLERANCE

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None:
        """Raise `Unauthenticated` unless one of `secrets` signed this delivery."""
        candidates = self._candidates(_header(delivery, self.header))
        keys = [
            key for secret in secrets for key in self.keys(secret.get_secret_value()) if key
        ]  # an empty key signs for anyone
        if not keys:
            raise Unauthenticated("no webhook secret is set for this integration; set webhook_secrets")
        signed = self.signed(delivery)
        fits = [
            hmac.compare_digest(digest, candidate)
            for digest in (hmac.digest(key, signed, sha256) for key in keys)
            for candidate in candidates
        ]
        if not any(fits):
            raise Unauthenticated(f"the signature in {self.header} does not fit the body")

    def sign(
        self, body: bytes, secret: str, *, timestamp: int | None = None, message_id: str | None = None
    ) -> str:
        """The header's value for a body that we send (or that a test makes)."""
        values = {"body": body, "ts": str(timestamp).encode(), "id": (message_id or "").encode()}
        return self.prefix + self._written(hmac.digest(self.keys(secret)[0], self._fill(values), sha256))

    def _candidates(self, value: str) -> list[bytes]:
        parts = (
            [value] if self.separator is None else [part.strip(" ") for part in value.split(self.separator)]
        )
        pattern = _HEX if self.encoding == "hex" else _BASE64
        found = [
            self._read(part.removeprefix(self.prefix))
            for part in parts
            if part.startswith(self.prefix) and pattern.fullmatch(part.removeprefix(self.prefix))
        ]
        if not found:
            raise Unauthenticated(f"{self.header} is not '{self.prefix}' and a {self.encoding} HMAC-SHA256")
        return found

    def _read(self, digest: str) -> bytes:
        if self.encoding == "hex":
            return bytes.fromhex(digest)
        decoded = base64.b64decode(digest)
        # Unused bits of the last character could differ and still decode to the same digest.
        return decoded if base64.b64encode(decoded).decode() == digest else b""

    def _written(self, digest: bytes) -> str:
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()

    def signed(self, delivery: Delivery) -> bytes:
        """What the sender signed; raises `Unauthenticated` where a header of it is missing or the time is not near."""
        if delivery.body[:1].isdigit():
            raise Unauthenticated(
                "a body that begins with a digit could be part of what was signed before it"
            )
        values: dict[str, bytes] = {"body": delivery.body}
        if self.timestamp_header is not None:
            values["ts"] = self._timestamp(delivery).encode()
        if self.id_header is not None:
            values["id"] = _raw(_header(delivery, self.id_header))
        return self._fill(values)

    def _timestamp(self, delivery: Delivery) -> str:
        assert self.timestamp_header is not None
        value = _header(delivery, self.timestamp_header)
        if not _TIMESTAMP.fullmatch(value):
            raise Unauthenticated(f"{self.timestamp_header} is not a time in seconds")
        if abs(delivery.received_at.timestamp() - int(value)) > self.tolerance.total_seconds():
            raise Unauthenticated(
                f"{self.timestamp_header} is more than {self.tolerance.total_seconds():g} s away from now"
            )
        return value

    def _fill(self, values: Mapping[str, bytes]) -> bytes:
        # Split first, fill in after: a body that contains '{ts}' stays as it is.
        parts = _PART.split(self.text)
        return b"".join(values[part] if index % 2 else part.encode() for index, part in enumerate(parts))


@dataclass(frozen=True, slots=True)
class SharedToken:
    """The secret itself in a header, behind `prefix` (`Bearer `). It proves the sender, not the body: use only over TLS.

    With `base64`, as HTTP's Basic authentication writes it; the secret is then `user:password`.
    """

    header: str
    prefix: str = ""
    encoding: Literal["plain", "base64"] = "plain"

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None:
        """Raise `Unauthenticated` unless the header carries one of `secrets`."""
        value = _header(delivery, self.header)
        given = _raw(value.removeprefix(self.prefix)) if value.startswith(self.prefix) else b""
        known = [self._written(secret.get_secret_value()) for secret in secrets if secret.get_secret_value()]
        if not known:
            raise Unauthenticated("no webhook secret is set for this integration; set webhook_secrets")
        fits = [hmac.compare_digest(sha256(given).digest(), sha256(secret).digest()) for secret in known]
        if not any(fits):
            raise Unauthenticated(f"the token in {self.header} is not ours")

    def _written(self, secret: str) -> bytes:
        return base64.b64encode(secret.encode()) if self.encoding == "base64" else secret.encode()


@dataclass(frozen=True, slots=True)
class Ed25519:
    """Ed25519 signatures in the header of `beside` and over the same text, each behind `prefix`; `keys` finds public keys in a secret."""

    beside: HmacSha256
    prefix: str
    keys: Callable[[str], tuple[bytes, ...]]

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None:
        """Raise `Unauthenticated` unless the holder of one of the keys signed this delivery."""
        keys = [key for secret in secrets for key in self.keys(secret.get_secret_value())]
        parts = _header(delivery, self.beside.header).split(self.beside.separator)
        signatures = [
            base64.b64decode(part.removeprefix(self.prefix))
            for part in parts
            if part.startswith(self.prefix) and _BASE64_OF_64.fullmatch(part.removeprefix(self.prefix))
        ]
        if not keys or not signatures:
            raise Unauthenticated(f"{self.beside.header} and our public keys have no Ed25519 in common")
        signed = self.beside.signed(delivery)
        if not any(_signed_by(key, signature, signed) for key in keys for signature in signatures):
            raise Unauthenticated(f"no Ed25519 signature in {self.beside.header} fits the body")


def _signed_by(key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, ValueError):  # ValueError: no key of this kind
        return False
    return True


class Scheme(Protocol):
    """A way to prove who sent a delivery."""

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None: ...


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Several schemes of one sender, of which one must fit: an older and a newer one, or a choice that the sender's user has."""

    schemes: tuple[Scheme, ...]

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None:
        """Raise `Unauthenticated`, with every scheme's reason, unless one of them accepts the delivery."""
        reasons: list[str] = []
        for scheme in self.schemes:
            try:
                scheme.verify(delivery, secrets)
            except Unauthenticated as error:
                reasons.append(error.message)
        if len(reasons) == len(self.schemes):
            raise Unauthenticated("; ".join(dict.fromkeys(reasons)))


@dataclass(frozen=True, slots=True)
class ByHeader:
    """The first of `schemes` whose header is there, else `otherwise`: a sender that has one proves itself in no other way."""

    schemes: tuple[tuple[str, Scheme], ...]
    otherwise: Scheme

    def verify(self, delivery: Delivery, secrets: tuple[SecretStr, ...]) -> None:
        """Raise `Unauthenticated` unless the delivery proves itself in the way that it claims."""
        claimed = (scheme for header, scheme in self.schemes if header.lower() in delivery.headers)
        next(claimed, self.otherwise).verify(delivery, secrets)


def _raw(value: str) -> bytes:
    """A header's value as it was sent: servers read its bytes as Latin-1."""
    return value.encode("latin-1", errors="backslashreplace")


def _header(delivery: Delivery, name: str) -> str:
    value = delivery.headers.get(name.lower())
    if not value:
        raise Unauthenticated(f"the webhook has no {name} header")
    return value

"""Keys that sign access tokens: ES256, named by their thumbprint, published without their private part."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.utils import base64url_encode
from pydantic import SecretStr

from devops_mcp.auth.sealing import SealBroken, SecretSeal
from devops_mcp.models.base import JsonObject

ALGORITHM = "ES256"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key pair. It signs from `signs_from` until the next one does, and its signatures hold for as long as it is kept."""

    kid: str
    signs_from: datetime
    private: EllipticCurvePrivateKey = field(repr=False)

    @property
    def public(self) -> EllipticCurvePublicKey:
        return self.private.public_key()

    def jwk(self) -> JsonObject:
        """The public part (RFC 7517)."""
        return {**_coordinates(self.public), "kid": self.kid, "alg": ALGORITHM, "use": "sig"}


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A key's row: all of it that is readable without the master keys."""

    kid: str
    sealed: bytes = field(repr=False)
    signs_from: datetime


def new_signing_key(signs_from: datetime) -> SigningKey:
    """A fresh key; its name is its thumbprint (RFC 7638)."""
    private = generate_private_key(SECP256R1())
    canonical = orjson.dumps(_coordinates(private.public_key()), option=orjson.OPT_SORT_KEYS)
    return SigningKey(base64url_encode(hashlib.sha256(canonical).digest()).decode(), signs_from, private)


def seal_key(key: SigningKey, seal: SecretSeal) -> SealedKey:
    """The key as it is kept."""
    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SealedKey(key.kid, seal.close(SecretStr(pem.decode()), _place(key.kid)), key.signs_from)


def open_key(row: SealedKey, seal: SecretSeal) -> SigningKey:
    """The key again. Raises `SealBroken` for one that was not sealed by us, or for another name."""
    pem = seal.open(row.sealed, _place(row.kid)).get_secret_value().encode()
    private = load_pem_private_key(pem, password=None)
    if not isinstance(private, EllipticCurvePrivateKey):
        raise SealBroken(f"the signing key {row.kid} is of another kind")
    return SigningKey(row.kid, row.signs_from, private)


def _place(kid: str) -> str:
    return f"signing key {kid}"


def _coordinates(public: EllipticCurvePublicKey) -> JsonObject:
    numbers = public.public_numbers()
    x, y = (base64url_encode(number.to_bytes(32)).decode() for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

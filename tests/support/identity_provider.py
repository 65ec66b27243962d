"""A small OpenID Connect provider: discovery, published keys, and tokens that it really signs."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from support.servers import serve

AUDIENCE = "https://devops.example.com/api"
_MADE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_PUBLISHED = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


class IdentityProvider:
    """What tests change is what it answers; `asked` counts the requests for its keys."""

    def __init__(self) -> None:
        self.issuer = ""
        self.called = ""
        self.asked = 0
        self.down = False
        self.redirects_to: str | None = None
        self.keys: dict[str, tuple[str, Any]] = {}
        self.add_key("first")

    def add_key(self, kid: str, algorithm: str = "ES256", key: Any = None) -> None:
        self.keys[kid] = (algorithm, key or _MADE[algorithm]())

    def token(
        self, subject: str, *, kid: str = "first", header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """A token of this provider; a claim that is None is left out."""
        now = int(time.time())
        said = {"iss": self.issuer, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + 300, **claims}
        algorithm, key = self.keys[kid]
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid, **(header or {})})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._jwks),
            ]
        )

    async def _discovery(self, request: Request) -> Response:
        if self.redirects_to:
            return RedirectResponse(self.redirects_to)
        described = {"issuer": self.called or self.issuer, "jwks_uri": f"{self.issuer}/keys"}
        return JSONResponse(described, 503 if self.down else 200)

    async def _jwks(self, request: Request) -> Response:
        self.asked += 1
        keys = [
            _PUBLISHED[algorithm].to_jwk(key.public_key(), as_dict=True)
            | {"kid": kid, "alg": algorithm, "use": "sig"}
            for kid, (algorithm, key) in self.keys.items()
        ]
        odd = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
            {"kty": "what"},
            "no key",
            {"kty": "RSA", "use": "enc"},
        ]
        return JSONResponse({"keys": [*odd, *keys]}, 503 if self.down else 200)


@asynccontextmanager
async def an_identity_provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    async with serve(provider.app()) as url:
        provider.issuer = url
        yield provider

"""A small OpenID Connect provider: discovery, published keys, tokens that it really signs, and a sign-in without questions."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote_plus, urlencode

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


CLIENT_ID, CLIENT_SECRET = "devops-mcp", "a secret: of ours / and theirs"


class IdentityProvider:
    """What tests change is what it answers; `asked` counts the requests for its keys.

    `person` are the claims of who sits at its own pages; what `says` holds stands in ID tokens instead of the truth. With `userinfo` it has
    an endpoint that says so much of whoever has the access token; `told` counts how often.
    """

    def __init__(self) -> None:
        self.issuer = ""
        self.called = ""
        self.asked = 0
        self.down = False
        self.redirects_to: str | None = None
        self.keys: dict[str, tuple[str, Any]] = {}
        self.person: dict[str, Any] = {"sub": "ann"}
        self.userinfo: Any = None
        self.told = 0
        self.says: dict[str, Any] = {}
        self.answers: dict[str, str] = {}
        self.redirect_uris: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
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
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
            ]
        )

    async def _discovery(self, request: Request) -> Response:
        if self.redirects_to:
            return RedirectResponse(self.redirects_to)
        described = {
            "issuer": self.called or self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "authorization_response_iss_parameter_supported": True,
        }
        if self.userinfo is not None:
            described["userinfo_endpoint"] = f"{self.issuer}/userinfo"
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

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT_ID
        assert asked["redirect_uri"] in self.redirect_uris
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        said = {"code": code, "state": asked["state"], "iss": self.issuer, **self.answers}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(said)}", 303)

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        asked = self._codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        known = [unquote_plus(part) for part in pair.split(":")] == [CLIENT_ID, CLIENT_SECRET]
        if not known or asked is None or asked["code_challenge"] != challenge or self.down:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {**self.person, "aud": CLIENT_ID, "nonce": asked["nonce"], **self.says}
        if claims.pop("forged", False):  # by another key than the token names
            self.add_key("forged")
            return self._signed_in(
                self.token(claims.pop("sub"), kid="forged", header={"kid": "first"}, **claims)
            )
        return self._signed_in(self.token(claims.pop("sub"), **claims))

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer opaque"
        self.told += 1
        return self.userinfo if isinstance(self.userinfo, Response) else JSONResponse(self.userinfo)

    def _signed_in(self, token: str) -> Response:
        return JSONResponse({"access_token": "opaque", "token_type": "Bearer", "id_token": token})


@asynccontextmanager
async def an_identity_provider() -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    async with serve(provider.app()) as url:
        provider.issuer = url
        yield provider

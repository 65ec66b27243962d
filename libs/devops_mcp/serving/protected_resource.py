"""A service as OAuth sees it: how a client without a token, or with one too narrow, learns where to get one (RFC 9728, RFC 6750 §3)."""

import re
from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from devops_mcp.config import Settings
from devops_mcp.models.permissions import PERMISSIONS, PLATFORM
from devops_mcp.models.principals import Principal

METADATA = "/.well-known/oauth-protected-resource"
SCOPES = tuple(p.grant for p in PERMISSIONS if not p.name.startswith(PLATFORM))
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})


class ProtectedResource:
    """A resource at `address`, and at each of the `paths` below it that clients may know it by.

    `to_begin_with` are the scopes that a client without a token is told to ask for: of more it is told when it needs more. `shown` matches
    the paths that may stand in an answer: what else a path holds would end the quotation.
    """

    def __init__(
        self,
        name: str,
        address: str,
        issuers: Iterable[str],
        *,
        to_begin_with: Sequence[str],
        paths: Iterable[str] = (),
        shown: re.Pattern[str] | None = None,
    ) -> None:
        self._name = name
        self._address = address
        self._issuers = list(issuers)
        self._to_begin_with = to_begin_with
        self._paths = tuple(paths)
        self._shown = shown

    def routes(self) -> list[Route]:
        """The metadata of the whole service, and of each address that a client may know it by."""
        return [Route(f"{METADATA}{path}", self.metadata, methods=["GET"]) for path in ("", *self._paths)]

    async def metadata(self, request: Request) -> Response:
        """`GET /.well-known/oauth-protected-resource` and below it."""
        document = {
            "resource": self._address + request.url.path.removeprefix(METADATA),
            "authorization_servers": self._issuers,
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
            "resource_name": self._name,
        }
        return JSONResponse(document, headers={"cache-control": "public, max-age=3600"})

    def challenge(self, scope: Scope) -> bytes:
        """`WWW-Authenticate` of a 401: what is wrong, where to read on, and what to ask for."""
        presented = any(name in _CREDENTIALS for name, _ in scope["headers"])
        fault = 'error="invalid_token", ' if presented else ""
        return f"Bearer {fault}{self._about(scope, self._to_begin_with)}".encode()

    def too_narrow(self, scope: Scope, scopes: Iterable[str]) -> str:
        """`WWW-Authenticate` of the 403 that tells a client which scopes its token would need."""
        return f'Bearer error="insufficient_scope", {self._about(scope, scopes)}'

    def _about(self, scope: Scope, scopes: Iterable[str]) -> str:
        path = scope["path"] if self._shown is not None and self._shown.fullmatch(scope["path"]) else ""
        return f'resource_metadata="{self._address}{METADATA}{path}", scope="{" ".join(scopes)}"'


def issuers_of(settings: Settings) -> list[str]:
    """Who gives tokens for our services, whom clients should go to first. Where people are known elsewhere, they sign in there.

    A provider at which they sign in from our own pages comes after us: with us, clients can register by themselves.
    """
    providers = settings.identity_providers
    elsewhere = [p.issuer for p in providers if p.audiences and p.sign_in is None]
    from_here = [p.issuer for p in providers if p.audiences and p.sign_in is not None]
    return list(dict.fromkeys([*elsewhere, settings.rest.url, *from_here]))


def scopes_with(principal: Principal, permission: str) -> tuple[str, ...]:
    """What to ask for, so that a token may this as well, which its user may; nothing where another token would not help."""
    whole = principal.model_copy(update={"limits": ()})
    if not principal.limits or principal.session_id is None or not whole.may(permission):
        return ()
    return (*(scope for limit in principal.limits for scope in limit), permission)

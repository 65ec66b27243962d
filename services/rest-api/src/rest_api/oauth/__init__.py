"""The authorization server of those who have no identity provider: OAuth 2.1 for public clients, with nothing that a program must be told.

Its metadata (RFC 8414) says where everything is. It is no OpenID provider, and so has no `/.well-known/openid-configuration`.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.models.oauth import DEFAULT_SCOPES
from devops_mcp.operations.oauth import AuthorizationServer
from devops_mcp.operations.oauth_clients import GRANT_TYPES
from rest_api.oauth.authorize import Authorizing
from rest_api.oauth.devices import Connecting
from rest_api.oauth.elsewhere import Elsewhere
from rest_api.oauth.pages import AUTHORIZE
from rest_api.oauth.tokens import DEVICE_AUTHORIZATION, REGISTER, REVOKE, TOKEN, token_routes
from rest_api.well_known import JWKS

METADATA = "/.well-known/oauth-authorization-server"
_KEPT_S = 300


def oauth_routes(server: AuthorizationServer) -> list[Route]:
    """All of its endpoints and pages."""
    authorizing = Authorizing(server)
    described = _metadata(server.issuer)

    async def metadata(request: Request) -> Response:
        return JSONResponse(described, headers={"cache-control": f"public, max-age={_KEPT_S}"})

    return [
        Route(METADATA, metadata, methods=["GET"]),
        *authorizing.routes(),
        *Elsewhere(server, authorizing).routes(),
        *Connecting(server, authorizing).routes(),
        *token_routes(server),
    ]


def _metadata(issuer: str) -> dict[str, object]:
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}{AUTHORIZE}",
        "token_endpoint": f"{issuer}{TOKEN}",
        "registration_endpoint": f"{issuer}{REGISTER}",
        "revocation_endpoint": f"{issuer}{REVOKE}",
        "device_authorization_endpoint": f"{issuer}{DEVICE_AUTHORIZATION}",
        "jwks_uri": f"{issuer}{JWKS}",
        "scopes_supported": DEFAULT_SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GRANT_TYPES,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }

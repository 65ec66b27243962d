"""What programs call: the token endpoint, revocation, registration, and a device's first request."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.models.errors import OAuthRefusal
from devops_mcp.models.sessions import TokenPair
from devops_mcp.operations.oauth import AuthorizationServer
from devops_mcp.operations.oauth_clients import GRANT_TYPES
from devops_mcp.serving.strict_json import loads
from rest_api.oauth.exchanges import UNKEPT, answering_programs, parameters_of
from rest_api.oauth.pages import DEVICE

TOKEN, REVOKE, REGISTER = "/oauth/token", "/oauth/revoke", "/oauth/register"
DEVICE_AUTHORIZATION = "/oauth/device_authorization"
_CODE, _REFRESH, _DEVICE_CODE = GRANT_TYPES


def token_routes(server: AuthorizationServer) -> list[Route]:
    """Endpoints for programs, which have no credential but what they send."""

    async def issue_tokens(request: Request) -> Response:
        await server.rates.asking("token")
        given = await parameters_of(request)
        return _tokens(await _issued(server, given))

    async def revoke_token(request: Request) -> Response:
        await server.rates.asking("token")
        await server.codes.revoke(await parameters_of(request))
        return Response(headers=UNKEPT)

    async def register_client(request: Request) -> Response:
        await server.rates.beginning("registration")
        given = loads(await request.body())
        if not isinstance(given, dict):
            raise OAuthRefusal("invalid_client_metadata", "the metadata must be a JSON object")
        client, grant_types = await server.clients.register(given)
        known = {
            "client_id": client.id,
            "client_id_issued_at": int(client.created_at.timestamp()),
            "client_name": client.name,
            "redirect_uris": client.redirect_uris,
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            **({"client_uri": client.uri} if client.uri else {}),
        }
        return JSONResponse(known, 201, UNKEPT)

    async def authorize_device(request: Request) -> Response:
        await server.rates.beginning("device")
        waits = await server.devices.begin(await parameters_of(request))
        page = f"{server.issuer}{DEVICE}"
        told = {
            "device_code": waits.device_code,
            "user_code": waits.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={waits.user_code}",
            "expires_in": waits.expires_in_s,
            "interval": waits.interval_s,
        }
        return JSONResponse(told, headers=UNKEPT)

    endpoints = (
        (TOKEN, issue_tokens),
        (REVOKE, revoke_token),
        (REGISTER, register_client),
        (DEVICE_AUTHORIZATION, authorize_device),
    )
    return [Route(path, answering_programs(handler), methods=["POST"]) for path, handler in endpoints]


async def _issued(server: AuthorizationServer, given: dict[str, str]) -> TokenPair:
    match given.get("grant_type"):
        case None:
            raise OAuthRefusal("invalid_request", "grant_type is missing")
        case grant if grant == _CODE:
            return await server.codes.exchange(given)
        case grant if grant == _REFRESH:
            return await server.codes.refresh(given)
        case grant if grant == _DEVICE_CODE:
            return await server.devices.poll(given)
        case _:
            raise OAuthRefusal("unsupported_grant_type", f"grant_type is one of {', '.join(GRANT_TYPES)}")


def _tokens(pair: TokenPair) -> Response:
    return Response(
        pair.model_dump_json(exclude={"session_id"}), headers=UNKEPT, media_type="application/json"
    )

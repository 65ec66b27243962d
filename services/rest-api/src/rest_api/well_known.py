"""What other programs look for at known addresses."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from devops_mcp.operations.platform import Platform
from devops_mcp.operations.signing_keys import PUBLISHED_BEFORE

JWKS = "/.well-known/jwks.json"
_KEPT_S = int(PUBLISHED_BEFORE.total_seconds()) // 4


def well_known_routes(platform: Platform) -> list[Route]:
    """The keys that access tokens are signed with (RFC 7517). A copy may be kept for as long as no key signs that is not in it."""

    async def jwks(request: Request) -> Response:
        keys = await platform.accounts.signing_keys.published()
        return JSONResponse(keys, headers={"cache-control": f"public, max-age={_KEPT_S}"})

    return [Route(JWKS, jwks, methods=["GET"])]

"""Tickets for clients that cannot set headers, such as browsers: bought with the real credential, good for one connection, at once.

A ticket stands in the address of the connection, so it must be worth nothing afterwards. It lives in Redis, which every replica reaches,
under its hash and sealed with the credential that bought it: the connection then belongs to that credential and ends with it.
"""

import secrets
from collections.abc import Mapping
from hashlib import sha256

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from devops_mcp.auth.authenticator import Authenticator
from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.sealing import Seal
from devops_mcp.models.errors import PlatformError, Unauthenticated, Unavailable
from devops_mcp.operations.caller_rates import CallerRates
from devops_mcp.serving import problems
from mcp_server.caller import Caller

LASTS_S = 30
_PREFIX = "devops-mcp:ticket:"
_CREDENTIALS = ("authorization", "x-api-key")


class Tickets:
    """Issues tickets and takes them back."""

    def __init__(
        self, redis: Redis, keyring: Keyring, authenticator: Authenticator, rates: CallerRates | None
    ) -> None:
        self._rates = rates
        self._redis = redis
        self._seal = Seal(keyring.keys("tickets"))
        self._authenticator = authenticator

    async def issue(self, request: Request) -> Response:
        """`POST /ws/tickets`: a ticket for who asks, who must be known by a header."""
        try:
            principal = await Caller(self._authenticator, request.headers).principal()
            if self._rates is not None:
                await self._rates.take(principal)
            ticket = await self._keep(request.headers)
        except PlatformError as error:
            return problems.of_error(error, request.state.request_id)
        answer = {"ticket": ticket, "expires_in": LASTS_S}
        return JSONResponse(answer, 201, headers={"Cache-Control": "no-store"})

    async def redeem(self, ticket: str) -> Mapping[str, str]:
        """The credential that bought the ticket, which is then spent. Raises `Unauthenticated`, or `Unavailable` without Redis."""
        place = _place(ticket)
        try:
            sealed = await self._redis.getdel(place)
        except (RedisError, OSError):
            raise Unavailable("tickets cannot be checked now; try again", retry_after_s=1) from None
        opened = self._seal.open(sealed, place) if isinstance(sealed, bytes) else None
        if opened is None:
            raise Unauthenticated("the ticket is not valid: each is good once, and for 30 s")
        headers: dict[str, str] = orjson.loads(opened)
        return headers

    async def _keep(self, headers: Mapping[str, str]) -> str:
        ticket = secrets.token_urlsafe(32)
        place = _place(ticket)
        credential = {name: headers[name] for name in _CREDENTIALS if name in headers}
        sealed = self._seal.close(orjson.dumps(credential), place)
        try:
            await self._redis.set(place, sealed, ex=LASTS_S)
        except (RedisError, OSError):
            raise Unavailable("no ticket can be made now; try again", retry_after_s=1) from None
        return ticket


def _place(ticket: str) -> str:
    return _PREFIX + sha256(ticket.encode()).hexdigest()

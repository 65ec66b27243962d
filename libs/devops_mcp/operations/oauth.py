"""The authorization server, put together: for installations whose people have no identity provider of their own."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from redis.asyncio import Redis

from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.outside_sign_in import OutsideSignIn
from devops_mcp.cache.attempts import Attempts
from devops_mcp.cache.rates import Rate, RateLimiter
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.accounts import Accounts
from devops_mcp.operations.authorization import Audiences, AuthorizationService
from devops_mcp.operations.consents import ConsentService
from devops_mcp.operations.device_flow import DeviceFlow
from devops_mcp.operations.identities import IdentityService
from devops_mcp.operations.oauth_clients import OAuthClientService
from devops_mcp.operations.outside_sign_in import OutsideSignInService
from devops_mcp.operations.sign_in import SignInService
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.documents import open_document_reader
from devops_mcp.repositories.database import Database

ASKING = Rate(per_s=5, burst=100)
"""Of pages and of the token endpoint, for one address: behind it may be a whole office."""
BEGINNING = Rate(per_s=0.2, burst=30)
"""Of what leaves a row behind: registrations, and devices that wait."""

CALLBACK = "/oauth/callback"


class AddressRates:
    """How often one address may ask; for all replicas together."""

    def __init__(self, redis: Redis) -> None:
        self._asking = RateLimiter(redis, ASKING)
        self._beginning = RateLimiter(redis, BEGINNING)

    async def asking(self, what: str) -> None:
        """Raises `RateLimited`."""
        await self._asking.take(f"oauth:{what}:{current_address() or 'unknown'}")

    async def beginning(self, what: str) -> None:
        """Of what leaves a row behind. Raises `RateLimited`."""
        await self._beginning.take(f"oauth:{what}:{current_address() or 'unknown'}")


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """Its parts. `issuer` is its address, by which it is known."""

    callback_path: ClassVar[str] = CALLBACK
    """Where identity providers lead back to."""

    issuer: str
    clients: OAuthClientService
    consents: ConsentService
    codes: AuthorizationService
    devices: DeviceFlow
    sign_ins: SignInService
    elsewhere: OutsideSignInService
    rates: AddressRates


@asynccontextmanager
async def open_authorization_server(
    database: Database,
    redis: Redis,
    keyring: Keyring,
    accounts: Accounts,
    *,
    issuer: str,
    audiences: Audiences,
    private_networks: tuple[Network, ...],
    identities: IdentityService,
    journeys: Redis,
    outside: Callable[[str], OutsideSignIn],
) -> AsyncIterator[AuthorizationServer]:
    """All of it, until the block ends.

    `journeys` is given time to answer, `redis` is not; `outside` makes what signs in at identity providers, from the address that they
    lead back to.
    """
    async with open_document_reader(private_networks) as documents:
        sign_ins = SignInService(database, accounts.login, keyring)
        clients = OAuthClientService(database, documents)
        yield AuthorizationServer(
            issuer=issuer,
            clients=clients,
            consents=ConsentService(database),
            codes=AuthorizationService(
                database, clients, accounts.sessions, accounts.login, issuer=issuer, audiences=audiences
            ),
            devices=DeviceFlow(
                database, clients, accounts.sessions, accounts.login, Attempts(redis), audiences
            ),
            sign_ins=sign_ins,
            elsewhere=OutsideSignInService(
                outside(f"{issuer}{CALLBACK}"), identities, sign_ins, journeys, keyring
            ),
            rates=AddressRates(redis),
        )

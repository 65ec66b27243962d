"""The authorization server, put together: for installations whose people have no identity provider of their own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from devops_mcp.auth.keyring import Keyring
from devops_mcp.cache.attempts import Attempts
from devops_mcp.cache.rates import Rate, RateLimiter
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.accounts import Accounts
from devops_mcp.operations.authorization import Audiences, AuthorizationService
from devops_mcp.operations.consents import ConsentService
from devops_mcp.operations.device_flow import DeviceFlow
from devops_mcp.operations.oauth_clients import OAuthClientService
from devops_mcp.operations.sign_in import SignInService
from devops_mcp.outbound.addresses import Network
from devops_mcp.outbound.documents import open_document_reader
from devops_mcp.repositories.database import Database

ASKING = Rate(per_s=5, burst=100)
"""Of pages and of the token endpoint, for one address: behind it may be a whole office."""
BEGINNING = Rate(per_s=0.2, burst=30)
"""Of what leaves a row behind: registrations, and devices that wait."""


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

    issuer: str
    clients: OAuthClientService
    consents: ConsentService
    codes: AuthorizationService
    devices: DeviceFlow
    sign_ins: SignInService
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
) -> AsyncIterator[AuthorizationServer]:
    """All of it, until the block ends."""
    async with open_document_reader(private_networks) as documents:
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
            sign_ins=SignInService(database, accounts.login, keyring),
            rates=AddressRates(redis),
        )

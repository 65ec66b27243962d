"""Who there is and what they may: tenants, users, roles and API keys, put together for a service that answers callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from devops_mcp.auth.access_tokens import AccessTokens
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.passwords import Passwords
from devops_mcp.auth.sealing import SecretSeal
from devops_mcp.cache.attempts import Attempts
from devops_mcp.operations.api_keys import ApiKeyService
from devops_mcp.operations.erasure import ErasureService
from devops_mcp.operations.identity_links import IdentityLinkService
from devops_mcp.operations.login import LoginService
from devops_mcp.operations.roles import RoleService
from devops_mcp.operations.session_list import SessionService
from devops_mcp.operations.sessions import TokenSessions
from devops_mcp.operations.signing_keys import SigningKeyService
from devops_mcp.operations.tenants import TenantService
from devops_mcp.operations.toolsets import Toolsets
from devops_mcp.operations.users import UserService
from devops_mcp.repositories.database import Database


@dataclass(frozen=True, slots=True)
class Accounts:
    users: UserService
    roles: RoleService
    api_keys: ApiKeyService
    tenants: TenantService
    erasures: ErasureService
    login: LoginService
    sessions: TokenSessions
    session_list: SessionService
    identity_links: IdentityLinkService
    signing_keys: SigningKeyService


@contextmanager
def open_accounts(
    database: Database, redis: Redis, keyring: Keyring, issuer: str, toolsets: Toolsets
) -> Iterator[Accounts]:
    """All of them, over one set of threads for passwords, which end with the block. `issuer` is the address that access tokens name."""
    passwords = Passwords()
    attempts = Attempts(redis)
    users = UserService(database, passwords)
    signing_keys = SigningKeyService(database, SecretSeal(keyring))
    try:
        yield Accounts(
            users=users,
            roles=RoleService(database),
            api_keys=ApiKeyService(database, toolsets),
            tenants=TenantService(database, passwords),
            erasures=ErasureService(database),
            login=LoginService(database, passwords, attempts),
            sessions=TokenSessions(database, AccessTokens(issuer, signing_keys), keyring, attempts),
            session_list=SessionService(database),
            identity_links=IdentityLinkService(database, users),
            signing_keys=signing_keys,
        )
    finally:
        passwords.close()

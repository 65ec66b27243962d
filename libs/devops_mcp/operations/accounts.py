"""Who there is and what they may: tenants, users, roles and API keys, put together for a service that answers callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from devops_mcp.auth.passwords import Passwords
from devops_mcp.cache.attempts import Attempts
from devops_mcp.operations.api_keys import ApiKeyService
from devops_mcp.operations.erasure import ErasureService
from devops_mcp.operations.login import LoginService
from devops_mcp.operations.roles import RoleService
from devops_mcp.operations.tenants import TenantService
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


@contextmanager
def open_accounts(database: Database, redis: Redis) -> Iterator[Accounts]:
    """All of them, over one set of threads for passwords, which end with the block."""
    passwords = Passwords()
    try:
        yield Accounts(
            users=UserService(database, passwords),
            roles=RoleService(database),
            api_keys=ApiKeyService(database),
            tenants=TenantService(database, passwords),
            erasures=ErasureService(database),
            login=LoginService(database, passwords, Attempts(redis)),
        )
    finally:
        passwords.close()

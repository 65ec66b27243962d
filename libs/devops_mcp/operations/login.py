"""Logging in with a username and a password, and who a user is from then on."""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from pydantic import SecretStr

from devops_mcp.auth.authenticator import REMEMBERED_S
from devops_mcp.auth.passwords import Passwords
from devops_mcp.cache.attempts import Allowance, Attempts
from devops_mcp.models.accounts import MAX_PASSWORD, UserCredentials, UserStatus
from devops_mcp.models.base import utc_now
from devops_mcp.models.errors import Conflict, Forbidden, Unauthenticated
from devops_mcp.models.ids import DEFAULT_TENANT_ID, new_id
from devops_mcp.models.principals import Principal, PrincipalKind
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.deeds import deed
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.repositories.database import Database

FAILURES_PER_USER_AND_ADDRESS = 10
FAILURES_PER_USER = 100
"""More than from one address, so that nobody locks somebody out from elsewhere with ten wrong guesses."""
FAILURES_PER_ADDRESS = 100
PROVED_S = 300.0
"""How long a password that was right is not hashed again; where it was changed since, it is."""
_WRONG = "the username or the password is not right"
MAX_LOGIN = 350
"""Characters of a tenant's slug, a slash, and an e-mail address."""


class LoginService:
    """Whether it is the tenant, the user or the password that is wrong, or the user is suspended, the answer and its time are the same."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        attempts: Attempts,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._attempts = attempts
        self._memory_key = secrets.token_bytes(32)
        self._proved: TtlCache[str] = TtlCache(monotonic=monotonic)
        self._principals: TtlCache[Principal] = TtlCache(monotonic=monotonic, max_entries=10_000)

    async def verify_password(self, login: str, password: SecretStr) -> Principal:
        """The user behind `username`, or `tenant/username` outside of the default tenant; an e-mail address does for the username.

        Raises `Unauthenticated`, `RateLimited` after too many failures, `Unavailable` when too many log in at once.
        """
        if len(login) > MAX_LOGIN or len(password.get_secret_value()) > MAX_PASSWORD or "\0" in login:
            raise Unauthenticated(_WRONG)
        named = await self._named(login)
        found = await self._credentials(named)
        proof = self._proof(named, password)
        known = self._proved.get(proof)
        if found is None or known is None or known != found.password_hash:
            await self._prove(named, found, password)
            assert found is not None
            assert found.password_hash is not None
            self._proved.put(proof, found.password_hash, PROVED_S)
        if found.status is not UserStatus.ACTIVE:
            raise Unauthenticated(_WRONG)
        return found.principal()

    async def change_password(self, principal: Principal, current: SecretStr, new: SecretStr) -> None:
        """Of the user that `principal` is, or acts for, and end its other sessions.

        Raises `Conflict` for who is none, `Forbidden` for a wrong one.
        """
        tenant_id, user_id = principal.tenant_id, principal.user_id
        async with self._database.transaction(tenant_id) as tx:
            found = await tx.users.credentials(user_id=user_id) if user_id else None
        if found is None or found.password_hash is None:
            raise Conflict("only a user who has a password changes it")
        allowances = _allowances(_Named(tenant_id, found.username))
        await self._attempts.begin(allowances)
        right = await self._passwords.matches(found.password_hash, current)
        record = deed(principal, "users.password", f"user:{found.id}")
        if not right:
            async with self._database.transaction(tenant_id) as tx:
                await tx.audit.append([replace(record, outcome="denied", error_code=Forbidden.code)])
            raise Forbidden("the current password is not right")
        await self._attempts.succeeded(allowances)
        hashed = await self._passwords.hash(new)
        async with self._database.transaction(tenant_id) as tx:
            await tx.users.put_password(found.id, hashed)
            # Whoever knew the old one may be signed in by it.
            await tx.sessions.revoke_of_user(found.id, utc_now(), but=principal.session_id)
            await tx.audit.append([record])

    async def principal_of_user(self, tenant_id: UUID, user_id: UUID) -> Principal | None:
        """The user with the rights it has now; None when it, or its tenant, is suspended or gone.

        It is remembered for 3 s. Whoever asks must not remember it for longer, or a suspension would not count within five.
        """
        key = (tenant_id, user_id)
        known = self._principals.get(key)
        if known is not None:
            return known
        async with self._database.transaction(tenant_id) as tx:
            found = await tx.users.credentials(user_id=user_id)
        if found is None or found.status is not UserStatus.ACTIVE:
            return None
        principal = found.principal()
        self._principals.put(key, principal, REMEMBERED_S)
        return principal

    async def _named(self, login: str) -> "_Named":
        tenant, slash, username = login.strip().lower().rpartition("/")
        if not slash:
            return _Named(DEFAULT_TENANT_ID, username)
        tenant_id = await self._database.find_tenant(tenant)
        # A tenant that there is not has no users; they are looked up all the same.
        return _Named(tenant_id or new_id(), username, exists=tenant_id is not None)

    async def _credentials(self, named: "_Named") -> UserCredentials | None:
        async with self._database.transaction(named.tenant_id) as tx:
            return await tx.users.credentials(login=named.username)

    async def _prove(self, named: "_Named", found: UserCredentials | None, password: SecretStr) -> None:
        """Raise unless the password is right and its user active; either way leave a record, if there is such a tenant."""
        allowances = _allowances(named)
        await self._attempts.begin(allowances)
        right = await self._passwords.matches(found.password_hash if found else None, password)
        admitted = right and found is not None and found.status is UserStatus.ACTIVE
        if named.exists:
            await self._record(named.tenant_id, found, admitted)
        if not admitted:
            raise Unauthenticated(_WRONG)
        await self._attempts.succeeded(allowances)

    async def _record(self, tenant_id: UUID, found: UserCredentials | None, admitted: bool) -> None:
        """Who failed as nobody that we know is not named: people type passwords where the username belongs."""
        who = found.principal() if found else _nobody(tenant_id)
        target = f"user:{found.id}" if found else "user:unknown"
        record = deed(who, "login.password", target)
        if not admitted:
            record = replace(record, outcome="denied", error_code=Unauthenticated.code)
        async with self._database.transaction(tenant_id) as tx:
            await tx.audit.append([record])

    def _proof(self, named: "_Named", password: SecretStr) -> bytes:
        text = f"{named.tenant_id}\0{named.username}\0{password.get_secret_value()}"
        return hmac.digest(self._memory_key, text.encode("utf-8", "replace"), "sha256")


@dataclass(frozen=True, slots=True)
class _Named:
    tenant_id: UUID
    username: str
    exists: bool = True


def _allowances(named: _Named) -> list[Allowance]:
    address = current_address() or "unknown"
    user = f"login {named.tenant_id if named.exists else None} {named.username}"
    return [
        Allowance(f"{user} from {address}", FAILURES_PER_USER_AND_ADDRESS, clears=True),
        Allowance(user, FAILURES_PER_USER, clears=False),
        Allowance(f"login from {address}", FAILURES_PER_ADDRESS, clears=False),
    ]


def _nobody(tenant_id: UUID) -> Principal:
    return Principal(id=UUID(int=0), tenant_id=tenant_id, kind=PrincipalKind.USER, name="unknown", grants=())

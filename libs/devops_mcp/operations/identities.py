"""Users who sign in with an outside identity provider: which user a token is, who is made one, and the roles that the provider gives."""

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import structlog

from devops_mcp.auth.outside_sign_in import not_heard
from devops_mcp.auth.outside_tokens import OutsideIdentity, OutsideTokens, claim_of, issuer_of
from devops_mcp.config import IdentityProviderSettings
from devops_mcp.models.accounts import LinkedIdentity, UserCredentials, UserStatus
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import Conflict, Unauthenticated
from devops_mcp.models.ids import new_id
from devops_mcp.models.principals import NOBODY, Principal
from devops_mcp.operations.deeds import deed, deed_in
from devops_mcp.operations.sessions import TokenSessions
from devops_mcp.operations.ttl_cache import TtlCache
from devops_mcp.operations.users import NewUser, keep_an_owner, new_user
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

log = structlog.get_logger()

EVERYBODY = "*"
"""In a provider's `roles`: what each of its users has."""
TURNED_AWAY_S = 10.0
"""How long somebody who is no user here is not looked for again."""
_NO_USER = "the identity provider's user has no account here"
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
_EMAIL = re.compile(r"[^\s@/\0]{1,64}@[^\s@/\0]{1,180}")
_NAMES = ("preferred_username", "email", "name")


class IdentityService:
    """Finds the user of an outside token, with the rights that it has now."""

    def __init__(
        self,
        database: Database,
        tokens: OutsideTokens,
        providers: Sequence[IdentityProviderSettings],
        *,
        now: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._providers = providers
        self._now = now
        self._turned_away: TtlCache[bool] = TtlCache(monotonic=monotonic)

    def knows(self, issuer: str) -> bool:
        """Whether a provider of this issuer is configured."""
        return self._tokens.knows(issuer)

    async def principal_of(self, token: str, issuer: str) -> Principal:
        """The user of a good token of this issuer; made, where the operator lets the provider bring users along.

        Raises `Unauthenticated`, also for somebody who is suspended or no user here; `Unavailable` while the provider cannot be asked.
        """
        return await self.admit(await self._tokens.verify(token, issuer))

    async def admit(self, identity: OutsideIdentity) -> Principal:
        """The user that somebody is whom a provider vouches for. Raises as `principal_of` does."""
        issuer = identity.issuer
        provider = self._providers[identity.provider]
        person = (provider.tenant_id, issuer, identity.subject)
        if self._turned_away.get(person):
            raise Unauthenticated(_NO_USER)
        async with self._database.transaction(provider.tenant_id) as tx:
            user = await tx.identities.user(issuer, identity.subject)
        user = user or await self._first_time(provider, identity)
        if user is None or user.status is not UserStatus.ACTIVE:
            self._turned_away.put(person, value=True, for_s=TURNED_AWAY_S)
            raise Unauthenticated(_NO_USER)
        wanted = _roles(provider, identity.claims)
        if provider.roles and set(wanted) != set(user.roles):
            return await self._with_roles(user, wanted, issuer)
        return user.principal()

    async def note_sign_in(self, user: Principal, identity: OutsideIdentity) -> None:
        """Write into the audit log that somebody signed in on our pages as this user."""
        about: JsonObject = {"issuer": identity.issuer, "subject": identity.subject}
        async with self._database.transaction(user.tenant_id) as tx:
            await tx.audit.append([deed(user, "login.identity", f"user:{user.id}", about)])

    async def _first_time(
        self, provider: IdentityProviderSettings, identity: OutsideIdentity
    ) -> UserCredentials | None:
        """The user that waits for this identity, or a new one; None where the operator wants neither.

        Raises `Unavailable` while it is not known whether somebody waits: who is made a user stays the one that this identity is.
        """
        if identity.unheard:
            raise not_heard(identity)
        issuer, subject = identity.issuer, identity.subject
        async with self._database.transaction(provider.tenant_id) as tx:
            await tx.identities.lock(issuer, subject)
            user = await tx.identities.user(issuer, subject)
            if user is not None:
                return user
            email = _verified_email(identity.claims)
            user_id = await tx.identities.invited(issuer, email) if email else None
            if user_id is None and provider.create_users:
                user_id = await self._create(tx, provider, identity, email)
            if user_id is not None:
                linked = LinkedIdentity(id=new_id(), issuer=issuer, subject=subject, created_at=self._now())
                await tx.identities.add(linked, user_id)
                user = await tx.identities.user(issuer, subject)
            await tx.audit.append([_record(provider.tenant_id, user, issuer, subject)])
        return user

    async def _create(
        self,
        tx: Transaction,
        provider: IdentityProviderSettings,
        identity: OutsideIdentity,
        email: str | None,
    ) -> UUID:
        claims = identity.claims
        username = await _free_username(tx, identity)
        taken = email is not None and await tx.users.credentials(login=email) is not None
        draft = NewUser(
            username=username,
            email=None if taken else email,
            name=_printable(claims.get("name")) or username,
            roles=_roles(provider, claims),
        )
        user = new_user(draft, self._now())
        await tx.users.add(user, None)
        return user.id

    async def _with_roles(self, user: UserCredentials, wanted: tuple[str, ...], issuer: str) -> Principal:
        """The user once it has the roles that its provider says; the last owner keeps what it has."""
        async with self._database.transaction(user.tenant_id) as tx:
            await tx.users.lock(user.id)
            before = await tx.users.find(user.id)
            if before is None:
                raise Unauthenticated(_NO_USER)
            after = before.model_copy(update={"roles": wanted, "updated_at": self._now()})
            try:
                await keep_an_owner(tx, before, after)
            except Conflict:
                log.warning("the last owner keeps its roles", user_id=str(user.id), issuer=issuer)
                return user.principal()
            await tx.users.replace(after)
            changed: JsonObject = {"issuer": issuer, "before": [*before.roles], "after": [*wanted]}
            await tx.audit.append([deed(user.principal(), "users.roles", f"user:{user.id}", changed)])
            now = await tx.users.credentials(user_id=user.id)
        if now is None:
            raise Unauthenticated(_NO_USER)
        return now.principal()


class BearerTokens:
    """Access tokens of whichever issuer we trust."""

    def __init__(self, sessions: TokenSessions, identities: IdentityService, audience: str) -> None:
        self._sessions = sessions
        self._identities = identities
        self._audience = audience

    async def principal_of(self, token: str) -> Principal:
        """Whom a token belongs to. Raises `Unauthenticated`, `Unavailable`."""
        issuer = issuer_of(token)
        if self._identities.knows(issuer):
            return await self._identities.principal_of(token, issuer)
        return await self._sessions.principal_of(token, self._audience)


def _roles(provider: IdentityProviderSettings, claims: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles for what the token says, in the order of the claim."""
    found = claim_of(claims, provider.roles_claim)
    said = found if isinstance(found, list) else [found]
    values = (EVERYBODY, *(value for value in said if isinstance(value, str)))
    return tuple(dict.fromkeys(role for value in values for role in provider.roles.get(value, ())))


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    """The address, if the provider vouches for it: only then does it say who somebody is."""
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        return None
    return email.lower() if _EMAIL.fullmatch(email) else None


async def _free_username(tx: Transaction, identity: OutsideIdentity) -> str:
    """A name from what the token says, with something after it where somebody has that one."""
    mark = hashlib.sha256(f"{identity.issuer} {identity.subject}".encode()).hexdigest()[:8]
    for base in _names(identity.claims):
        for username in (base, f"{base[:50]}-{mark}"):
            if not await tx.identities.username_is_taken(username):
                return username
    return f"user-{mark}"


def _names(claims: Mapping[str, Any]) -> Iterable[str]:
    for claim in _NAMES:
        said = claims.get(claim)
        local = said.partition("@")[0].lower() if isinstance(said, str) else ""
        name = _NOT_IN_A_NAME.sub("-", local).strip("-._")[:60]
        if name:
            yield name


def _printable(said: object) -> str:
    return "".join(c for c in said if c.isprintable()).strip()[:200] if isinstance(said, str) else ""


def _record(tenant_id: UUID, user: UserCredentials | None, issuer: str, subject: str) -> AuditRecord:
    about = {"issuer": issuer, "subject": subject}
    if user is None:
        record = deed_in(tenant_id, NOBODY, "login.identity", "user:unknown", about)
        return replace(record, outcome="denied", error_code=Unauthenticated.code)
    return deed(user.principal(), "identities.add", f"user:{user.id}", about)

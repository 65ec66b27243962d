"""Sessions: signing in once, and from then on by access tokens of ten minutes and a refresh token that changes with every use.

This is what issues tokens, whoever asks: the login of rest-api and the authorization server alike.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from devops_mcp.auth.access_tokens import LIFETIME, AccessTokens, Grant, refused
from devops_mcp.auth.keyring import Keyring
from devops_mcp.auth.refresh_tokens import RefreshToken, RefreshTokens, parse_refresh_token
from devops_mcp.cache.attempts import Allowance, Attempts
from devops_mcp.models.base import Clock, JsonObject, utc_now
from devops_mcp.models.errors import Forbidden, Unauthenticated
from devops_mcp.models.ids import new_id
from devops_mcp.models.permissions import require_grants
from devops_mcp.models.principals import Principal
from devops_mcp.models.sessions import EVERYTHING, SessionAccount, StoredSession, TokenPair
from devops_mcp.observability.caller import current_address
from devops_mcp.operations.deeds import deed
from devops_mcp.repositories.database import Database
from devops_mcp.repositories.transaction import Transaction

IDLE = timedelta(days=14)
"""A session that is not refreshed for so long ends."""
LASTS = timedelta(days=30)
"""Then the user signs in anew, however often it was refreshed."""
GRACE = timedelta(seconds=10)
"""How long the refresh token before is answered as its first use was: a client that asks twice at once has one session still."""
MADE_UP_PER_ADDRESS = 100
SALT_BYTES = 16


class TokenSessions:
    """Begins, refreshes and ends sessions, and knows whom an access token of one belongs to."""

    def __init__(
        self,
        database: Database,
        access_tokens: AccessTokens,
        keyring: Keyring,
        attempts: Attempts,
        *,
        now: Clock = utc_now,
    ) -> None:
        self._database = database
        self._access = access_tokens
        self._refresh = RefreshTokens(keyring)
        self._attempts = attempts
        self._now = now

    async def begin(
        self,
        principal: Principal,
        *,
        client_id: str,
        audience: str,
        scopes: Sequence[str] = EVERYTHING,
        client_name: str = "",
    ) -> TokenPair:
        """A new session of the user that `principal` is, for tokens that `audience` takes.

        `scopes` are grants, and narrow what the user may; they give nothing that the user lacks, now or later. Raises `InvalidInput` for
        scopes that are no grants; `Forbidden` unless `principal` is itself a user, who is not narrowed below what is asked for;
        `Unauthenticated` where it, or the identity that it signed in by, is no more.
        """
        wanted = tuple(scopes)
        require_grants(wanted, "scope")
        if principal.user_id is None or principal.user_id != principal.id:
            raise Forbidden("only a user begins a session, not a key")
        if principal.limits and not all(principal.may(grant) for grant in wanted):
            raise Forbidden("a narrowed credential cannot begin a session that may more")
        session_id, now = new_id(), self._now()
        token = self._refresh.first(principal.tenant_id, session_id)
        session = StoredSession(
            tenant_id=principal.tenant_id,
            id=session_id,
            user_id=principal.user_id,
            client_id=client_id,
            client_name=client_name or client_id,
            audience=audience,
            scopes=wanted,
            address=current_address(),
            identity_id=principal.identity_id,
            refresh_hash=token.hash,
            created_at=now,
            refreshed_at=now,
            idle_until=now + IDLE,
            expires_at=now + LASTS,
        )
        pair = await self._pair(session, token, wanted)
        async with self._database.transaction(principal.tenant_id) as tx:
            await tx.sessions.add(session)
            await tx.audit.append([deed(principal, "sessions.begin", _target(session_id), _about(session))])
        return pair

    async def refresh(
        self, refresh_token: str, *, client_id: str, scopes: Sequence[str] | None = None
    ) -> TokenPair:
        """Another pair for a refresh token, which is then good no more. The access token has `scopes`, some of the session's, or all.

        A token that was used before ends its session, access tokens too, unless that was less than 10 s ago, of which the refresh token
        is then given again. Raises `Unauthenticated`, always alike; `Forbidden` for scopes that the session lacks; `RateLimited`
        after too many tokens that were made up.
        """
        token = _parsed(refresh_token)
        # That of a master key which is there no more is good, and cannot be told from one that somebody made up.
        doubted = [] if self._refresh.is_ours(token) else _allowances()
        if doubted:
            await self._attempts.begin(doubted)
        async with self._database.transaction(token.tenant_id) as tx:
            session = await tx.sessions.lock(token.session_id)
            # Who is suspended for an hour has the same token afterwards.
            account = await tx.sessions.account(token.session_id, self._now())
            following = await self._exchange(tx, session, token, client_id) if account else None
            # Who asks for too much keeps the token that was asked with.
            granted = _within(session, scopes) if session and following else ()
        if session is None or following is None:
            raise _refused()
        if doubted:
            await self._attempts.succeeded(doubted)
        return await self._pair(session, following, granted)

    async def end(self, refresh_token: str, *, client_id: str) -> None:
        """End the session that a refresh token is of, as RFC 7009 has it: a token that is good no more changes nothing."""
        token = parse_refresh_token(refresh_token)
        if token is None or not self._refresh.is_ours(token):
            return
        async with self._database.transaction(token.tenant_id) as tx:
            session = await tx.sessions.lock(token.session_id)
            if session is not None and session.client_id == client_id:
                await self._end(tx, session, "sessions.end")

    async def principal_of(self, access_token: str, audience: str) -> Principal:
        """Whom an access token belongs to, with the rights that its user has now.

        Raises `Unauthenticated`, also when the session was revoked or the user suspended since. Whoever asks must not remember the answer
        for longer than a few seconds, or that would not count within five.
        """
        claims = await self._access.verify(access_token, audience)
        async with self._database.transaction(claims.tenant_id) as tx:
            account = await tx.sessions.account(claims.session_id, self._now())
        if account is None or str(account.id) != claims.sub:
            raise refused()
        return _narrowed(account, tuple(claims.scope.split()))

    async def _exchange(
        self, tx: Transaction, session: StoredSession | None, token: RefreshToken, client_id: str
    ) -> RefreshToken | None:
        """The refresh token to give for this one; None when it is not good. One that was used before ends the session."""
        if session is None or session.client_id != client_id or not self._is_open(session):
            return None
        if token.hash == session.refresh_hash:
            return await self._rotate(tx, session, token)
        given_before = token.hash == session.previous_hash and session.salt is not None
        if given_before and self._now() < session.refreshed_at + GRACE:
            assert session.salt is not None
            return self._refresh.again(token, session.salt, session.refresh_hash)
        if given_before or self._refresh.is_ours(token):
            await self._end(tx, session, "sessions.reuse")
        return None

    async def _rotate(self, tx: Transaction, session: StoredSession, token: RefreshToken) -> RefreshToken:
        now, salt = self._now(), os.urandom(SALT_BYTES)
        following = self._refresh.after(token, salt)
        changes = {
            "refresh_hash": following.hash,
            "previous_hash": token.hash,
            "salt": salt,
            "refreshed_at": now,
            "idle_until": min(now + IDLE, session.expires_at),
        }
        await tx.sessions.rotate(session.model_copy(update=changes))
        return following

    async def _end(self, tx: Transaction, session: StoredSession, action: str) -> None:
        if not await tx.sessions.revoke(session.id, self._now()):
            return
        user = await tx.users.credentials(user_id=session.user_id)
        if user is not None:
            record = deed(user.principal(), action, _target(session.id), {"client_id": session.client_id})
            if action == "sessions.reuse":
                record = replace(record, outcome="denied", error_code=Unauthenticated.code)
            await tx.audit.append([record])

    def _is_open(self, session: StoredSession) -> bool:
        return session.revoked_at is None and self._now() < min(session.idle_until, session.expires_at)

    async def _pair(self, session: StoredSession, token: RefreshToken, scopes: tuple[str, ...]) -> TokenPair:
        grant = Grant(
            tenant_id=session.tenant_id,
            user_id=session.user_id,
            session_id=session.id,
            client_id=session.client_id,
            scopes=scopes,
            audience=session.audience,
        )
        return TokenPair(
            access_token=await self._access.issue(grant),
            refresh_token=token.text(),
            expires_in=int(LIFETIME.total_seconds()),
            scope=" ".join(scopes),
            session_id=session.id,
        )


def _narrowed(account: SessionAccount, scopes: tuple[str, ...]) -> Principal:
    """The token may be for less than its session."""
    principal = account.principal()
    if scopes in (EVERYTHING, account.scopes):
        return principal
    return principal.within((scopes,))


def _within(session: StoredSession, scopes: Sequence[str] | None) -> tuple[str, ...]:
    if scopes is None:
        return session.scopes
    wanted = tuple(scopes)
    require_grants(wanted, "scope")
    if session.scopes != EVERYTHING and not set(wanted) <= set(session.scopes):
        raise Forbidden("the session was begun for fewer scopes")
    return wanted


def _about(session: StoredSession) -> JsonObject:
    about: JsonObject = session.model_dump(mode="json", include={"client_id", "audience", "scopes"})
    return about


def _allowances() -> list[Allowance]:
    where = f"refresh from {current_address() or 'unknown'}"
    return [Allowance(where, MADE_UP_PER_ADDRESS, clears=False)]


def _parsed(refresh_token: str) -> RefreshToken:
    token = parse_refresh_token(refresh_token)
    if token is None:
        raise _refused()
    return token


def _refused() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid")


def _target(session_id: UUID) -> str:
    return f"session:{session_id}"

"""Sessions as people see them: what they are signed in with, and ending it."""

from datetime import datetime
from uuid import UUID

from devops_mcp.models.base import Clock, Model, utc_now
from devops_mcp.models.errors import NotFound
from devops_mcp.models.pages import Order, Page
from devops_mcp.models.principals import Principal
from devops_mcp.models.sessions import Session
from devops_mcp.operations.contexts import require
from devops_mcp.operations.deeds import deed, denial
from devops_mcp.repositories.database import Database

READ = "sessions:read"
WRITE = "sessions:write"
OWN = "sessions:own"


class SessionView(Model):
    """A sign-in of a user. `address` is where it was begun; `current` says that this request came by it."""

    id: UUID
    user_id: UUID
    client_id: str
    client_name: str
    scopes: tuple[str, ...]
    address: str | None
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    current: bool


class SessionService:
    """Users see and end their own sessions, who manages users those of all."""

    def __init__(self, database: Database, *, now: Clock = utc_now) -> None:
        self._database = database
        self._now = now

    async def page(
        self, principal: Principal, *, user_id: UUID | None = None, order: Order, limit: int
    ) -> Page[SessionView]:
        """Those that have not ended, of one user or all; who may not read all sees their own."""
        if not principal.may(READ):
            require(principal, OWN)
            own = principal.user_id or principal.id
            if user_id not in (None, own):
                return Page(items=())
            user_id = own
        async with self._database.transaction(principal.tenant_id) as tx:
            found = await tx.sessions.page(user_id, self._now(), order, limit + 1)
        return order.page(found, limit).shown(lambda session: _view(session, principal))

    async def get(self, principal: Principal, session_id: UUID) -> SessionView:
        """One that has not ended. Raises `NotFound`, also for another's where the principal sees only its own."""
        if not principal.may(READ):
            require(principal, OWN)
        async with self._database.transaction(principal.tenant_id) as tx:
            session = await tx.sessions.find(session_id)
        seen = session is not None and (principal.may(READ) or session.user_id == principal.user_id)
        if session is None or not seen or not self._lasts(session):
            raise _absent(session_id)
        return _view(session, principal)

    def _lasts(self, session: Session) -> bool:
        return session.revoked_at is None and self._now() < min(session.idle_until, session.expires_at)

    async def revoke(self, principal: Principal, session_id: UUID) -> None:
        """It ends within seconds, on open connections too. Raises `NotFound`, also for another's; once more changes nothing."""
        if not principal.may(WRITE) and not principal.may(OWN):
            why = f"lacks the permission {WRITE!r}"
            raise await denial(self._database, principal, "sessions.write", f"session:{session_id}", why)
        async with self._database.transaction(principal.tenant_id) as tx:
            session = await tx.sessions.find(session_id)
            if session is None or not (principal.may(WRITE) or session.user_id == principal.user_id):
                raise _absent(session_id)
            if await tx.sessions.revoke(session_id, self._now()):
                about = {"user_id": str(session.user_id), "client_id": session.client_id}
                record = deed(principal, "sessions.revoke", f"session:{session_id}", about)
                await tx.audit.append([record])

    async def revoke_all(self, principal: Principal, user_id: UUID | None) -> int:
        """End all sessions of a user, or of the caller itself; how many. Raises `NotFound` for a user that there is not."""
        wanted = user_id or principal.user_id
        permission = OWN if wanted == principal.user_id else WRITE
        if not principal.may(permission, WRITE):
            raise await denial(
                self._database,
                principal,
                "sessions.write",
                f"user:{wanted}",
                f"lacks the permission {permission!r}",
            )
        if wanted is None:
            return 0
        async with self._database.transaction(principal.tenant_id) as tx:
            if await tx.users.find(wanted) is None:
                raise NotFound(f"there is no user {wanted}")
            count = await tx.sessions.revoke_of_user(wanted, self._now())
            if count:
                record = deed(principal, "sessions.revoke_all", f"user:{wanted}", {"count": count})
                await tx.audit.append([record])
        return count


def _absent(session_id: UUID) -> NotFound:
    return NotFound(f"there is no session {session_id}")


def _view(session: Session, principal: Principal) -> SessionView:
    shown = session.model_dump(include=set(SessionView.model_fields))
    return SessionView(**shown, current=session.id == principal.session_id)

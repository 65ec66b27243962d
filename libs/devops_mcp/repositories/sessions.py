"""Sessions, and the keys that sign their access tokens."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import Unauthenticated
from devops_mcp.models.pages import Order
from devops_mcp.models.sessions import Session, SessionAccount, StoredSession
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.owner import connect_as_owner
from devops_mcp.repositories.sorting import BY_AGE, behind, by, values_of
from devops_mcp.repositories.statements import composed


class Sessions:
    """The sessions of one tenant."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, session: StoredSession) -> None:
        """Raises `Unauthenticated` where the user, or the identity that it signed in by, is no more."""
        try:
            await self._connection.execute(
                """
                INSERT INTO sessions (id, user_id, client_id, client_name, audience, scopes, address, refresh_hash, created_at,
                    refreshed_at, idle_until, expires_at, identity_id)
                VALUES (%(id)s, %(user_id)s, %(client_id)s, %(client_name)s, %(audience)s, %(scopes)s, %(address)s, %(refresh_hash)s,
                    %(created_at)s, %(refreshed_at)s, %(idle_until)s, %(expires_at)s, %(identity_id)s)
                """,
                {**session.model_dump(), "scopes": list(session.scopes)},
            )
        except errors.ForeignKeyViolation:
            raise Unauthenticated("who signed in is no user any more, or signs in otherwise") from None

    async def lock(self, session_id: UUID) -> StoredSession | None:
        """The session, revoked or expired too, which nobody else changes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(StoredSession)) as cursor:
            await cursor.execute(
                """
                SELECT tenant_id, id, user_id, client_id, client_name, audience, scopes, address, refresh_hash, previous_hash, salt,
                    created_at, refreshed_at, idle_until, expires_at, revoked_at, identity_id
                FROM sessions WHERE id = %s FOR UPDATE
                """,
                (session_id,),
            )
            return await cursor.fetchone()

    async def account(self, session_id: UUID, now: datetime) -> SessionAccount | None:
        """The user of a session that is good, with the rights it has now.

        None when the session is not, or the user or the tenant is suspended.
        """
        async with self._connection.cursor(row_factory=class_row(SessionAccount)) as cursor:
            await cursor.execute(
                """
                SELECT u.id, u.tenant_id, 'user' AS kind, u.username AS name, u.roles, u.grants, true AS is_user,
                    custom_grants(u.tenant_id, u.roles) AS role_grants, s.id AS session_id, s.scopes
                FROM sessions AS s JOIN users AS u ON u.tenant_id = s.tenant_id AND u.id = s.user_id
                JOIN tenants AS t ON t.tenant_id = s.tenant_id
                WHERE s.id = %(id)s AND s.revoked_at IS NULL AND s.expires_at > %(now)s AND u.status = 'active'
                    AND t.suspended_at IS NULL
                """,
                {"id": session_id, "now": now},
            )
            return await cursor.fetchone()

    async def rotate(self, session: StoredSession) -> None:
        """Write the hashes, the salt and the times of a refresh."""
        await self._connection.execute(
            """
            UPDATE sessions SET refresh_hash = %(refresh_hash)s, previous_hash = %(previous_hash)s, salt = %(salt)s,
                refreshed_at = %(refreshed_at)s, idle_until = %(idle_until)s
            WHERE id = %(id)s
            """,
            session.model_dump(),
        )

    async def find(self, session_id: UUID) -> Session | None:
        async with self._connection.cursor(row_factory=class_row(Session)) as cursor:
            await cursor.execute(
                """
                SELECT id, user_id, client_id, client_name, audience, scopes, address, created_at, refreshed_at, idle_until, expires_at,
                    revoked_at
                FROM sessions WHERE id = %s
                """,
                (session_id,),
            )
            return await cursor.fetchone()

    async def page(self, user_id: UUID | None, now: datetime, order: Order, limit: int) -> list[Session]:
        """Those that are good; everybody's, or one user's."""
        async with self._connection.cursor(row_factory=class_row(Session)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, user_id, client_id, client_name, audience, scopes, address, created_at, refreshed_at, idle_until, expires_at,
                    revoked_at
                FROM sessions
                WHERE revoked_at IS NULL AND least(idle_until, expires_at) > %(now)s
                    AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s) AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(BY_AGE, order),
                    order=by(BY_AGE, order),
                ),
                {"user_id": user_id, "now": now, **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()

    async def revoke(self, session_id: UUID, now: datetime) -> bool:
        """False when it is not there, or was revoked before."""
        cursor = await self._connection.execute(
            "UPDATE sessions SET revoked_at = %s WHERE id = %s AND revoked_at IS NULL", (now, session_id)
        )
        return cursor.rowcount == 1

    async def revoke_of_user(self, user_id: UUID, now: datetime, *, but: UUID | None = None) -> int:
        """End all sessions of a user, or all `but` one; how many."""
        cursor = await self._connection.execute(
            """
            UPDATE sessions SET revoked_at = %(now)s
            WHERE user_id = %(user_id)s AND revoked_at IS NULL AND id IS DISTINCT FROM %(but)s::uuid
            """,
            {"now": now, "user_id": user_id, "but": but},
        )
        return cursor.rowcount

    async def drop_ended(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` that ended before; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM sessions WHERE ctid = ANY (ARRAY(SELECT ctid FROM sessions
                WHERE least(idle_until, expires_at) < %(before)s OR revoked_at < %(before)s LIMIT %(limit)s))
            """,
            {"before": before, "limit": limit},
        )
        return cursor.rowcount


class SigningKeyRows:
    """The keys that sign access tokens: rows of the operator's tenant."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def all(self) -> list[tuple[str, bytes, datetime]]:
        """Name, sealed key, and from when on it signs; the latest first."""
        cursor = await self._connection.execute(
            "SELECT kid, sealed, signs_from FROM signing_keys ORDER BY signs_from DESC"
        )
        return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]

    async def lock(self) -> None:
        """Until the transaction ends nobody else makes or removes a key."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.signing_keys', 0))"
        )

    async def add(self, kid: str, sealed: bytes, signs_from: datetime) -> None:
        await self._connection.execute(
            "INSERT INTO signing_keys (kid, sealed, signs_from) VALUES (%s, %s, %s)",
            (kid, sealed, signs_from),
        )

    async def drop(self, kids: list[str]) -> None:
        await self._connection.execute("DELETE FROM signing_keys WHERE kid = ANY (%s)", (kids,))


async def drop_signing_keys_as_owner(owner_url: str, record: AuditRecord) -> int:
    """Forget all signing keys with the schema owner's connection; how many there were. `record` names their tenant."""
    async with connect_as_owner(owner_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(record.tenant_id),))
        dropped = await connection.execute("DELETE FROM signing_keys")
        log = AuditLog(connection)
        await log.append([record])
        await log.flush()
        return dropped.rowcount

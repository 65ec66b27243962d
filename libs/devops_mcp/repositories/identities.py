"""Who of an outside identity provider is which user."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.accounts import LinkedIdentity, UserCredentials


class Identities:
    """The identities of one tenant's users."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def user(self, issuer: str, subject: str) -> UserCredentials | None:
        """The user of an identity with the rights it has now, suspended too; None when there is none, or the tenant is suspended."""
        async with self._connection.cursor(row_factory=class_row(UserCredentials)) as cursor:
            await cursor.execute(
                """
                SELECT u.id, u.tenant_id, 'user' AS kind, u.username AS name, u.roles, u.grants, u.username, u.status,
                    NULL AS password_hash, true AS is_user, custom_grants(u.tenant_id, u.roles) AS role_grants
                FROM identities AS i JOIN users AS u ON u.tenant_id = i.tenant_id AND u.id = i.user_id
                JOIN tenants AS t ON t.tenant_id = i.tenant_id
                WHERE i.issuer = %s AND i.subject = %s AND t.suspended_at IS NULL
                """,
                (issuer, subject),
            )
            return await cursor.fetchone()

    async def invited(self, issuer: str, email: str) -> UUID | None:
        """The active user of this address that has no password and no identity of this issuer yet: whoever made it waits for its first
        sign-in."""
        cursor = await self._connection.execute(
            """
            SELECT u.id FROM users AS u
            WHERE u.email = %(email)s AND u.status = 'active' AND u.password_hash IS NULL
                AND NOT EXISTS (SELECT FROM identities AS i WHERE i.user_id = u.id AND i.issuer = %(issuer)s)
            """,
            {"issuer": issuer, "email": email},
        )
        row = await cursor.fetchone()
        return row[0] if row else None

    async def lock(self, issuer: str, subject: str) -> None:
        """Until the transaction ends nobody else makes a user of this identity."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s || ' ' || current_tenant(), 0))",
            (f"devops_mcp.identities {issuer} {subject}",),
        )

    async def lock_those_of(self, user_id: UUID) -> None:
        """Until the transaction ends nobody else adds one to this user."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s || ' ' || current_tenant(), 0))",
            (f"devops_mcp.identities of {user_id}",),
        )

    async def add(self, identity: LinkedIdentity, user_id: UUID) -> None:
        await self._connection.execute(
            "INSERT INTO identities (id, issuer, subject, user_id, created_at) VALUES (%s, %s, %s, %s, %s)",
            (identity.id, identity.issuer, identity.subject, user_id, identity.created_at),
        )

    async def of_user(self, user_id: UUID) -> list[LinkedIdentity]:
        """The oldest first."""
        async with self._connection.cursor(row_factory=class_row(LinkedIdentity)) as cursor:
            await cursor.execute(
                "SELECT id, issuer, subject, created_at FROM identities WHERE user_id = %s ORDER BY created_at, id",
                (user_id,),
            )
            return await cursor.fetchall()

    async def remove(self, identity_id: UUID, user_id: UUID) -> LinkedIdentity | None:
        """The one that is removed; None when it is not the user's."""
        async with self._connection.cursor(row_factory=class_row(LinkedIdentity)) as cursor:
            await cursor.execute(
                "DELETE FROM identities WHERE id = %s AND user_id = %s RETURNING id, issuer, subject, created_at",
                (identity_id, user_id),
            )
            return await cursor.fetchone()

    async def username_is_taken(self, username: str) -> bool:
        cursor = await self._connection.execute(
            "SELECT EXISTS (SELECT FROM users WHERE username = %s)", (username,)
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

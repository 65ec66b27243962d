"""Principals, for work that goes on when the credential that began it is not at hand."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.principals import Account, Principal


class Principals:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def exists(self, principal_id: UUID) -> bool:
        """Whether this is an API key or a user of the tenant, good or not."""
        cursor = await self._connection.execute(
            "SELECT EXISTS (SELECT FROM api_keys WHERE id = %(id)s) OR EXISTS (SELECT FROM users WHERE id = %(id)s)",
            {"id": principal_id},
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def find(self, principal_id: UUID, now: datetime) -> Principal | None:
        """The principal with the rights it has now; None when it, its user or its tenant was revoked, suspended or has expired."""
        async with self._connection.cursor(row_factory=class_row(Account)) as cursor:
            await cursor.execute(
                """
                SELECT k.id, k.tenant_id, k.kind, k.name, k.roles, k.grants, k.toolsets, k.user_id,
                    custom_grants(k.tenant_id, k.roles) AS role_grants,
                    coalesce(u.roles, '{}') AS user_roles,
                    coalesce(u.grants || custom_grants(k.tenant_id, u.roles), '{}') AS user_grants,
                    false AS is_user
                FROM api_keys AS k JOIN tenants AS t ON t.tenant_id = k.tenant_id
                LEFT JOIN users AS u ON u.tenant_id = k.tenant_id AND u.id = k.user_id
                WHERE k.id = %(id)s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > %(now)s)
                    AND t.suspended_at IS NULL AND (k.user_id IS NULL OR u.status = 'active')
                UNION ALL
                SELECT u.id, u.tenant_id, 'user', u.username, u.roles, u.grants, '{}', NULL,
                    custom_grants(u.tenant_id, u.roles), '{}', '{}', true
                FROM users AS u JOIN tenants AS t ON t.tenant_id = u.tenant_id
                WHERE u.id = %(id)s AND u.status = 'active' AND t.suspended_at IS NULL
                """,
                {"id": principal_id, "now": now},
            )
            account = await cursor.fetchone()
            return account.principal() if account else None

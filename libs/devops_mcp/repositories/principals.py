"""Principals, for work that goes on when the credential that began it is not at hand."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.principals import Principal


class Principals:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def find(self, principal_id: UUID, now: datetime) -> Principal | None:
        """The principal with the rights it has now; None when its key was revoked or has expired."""
        async with self._connection.cursor(row_factory=class_row(Principal)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, kind, name, grants FROM api_keys
                WHERE id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s)
                """,
                (principal_id, now),
            )
            return await cursor.fetchone()

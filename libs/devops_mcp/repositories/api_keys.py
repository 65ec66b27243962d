"""API keys."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.accounts import ApiKeysWanted
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import NotFound
from devops_mcp.models.pages import Order
from devops_mcp.models.principals import ApiKey, FoundKey
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.owner import connect_as_owner
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed

_SORTED: Columns = {"created_at": "timestamptz", "name": "text"}


class ApiKeys:
    """The keys of one tenant."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, key: ApiKey) -> bool:
        """False when the tenant has a key of this prefix."""
        return await _insert(self._connection, key)

    async def find(self, key_id: UUID) -> ApiKey | None:
        """The key, which nobody else changes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(ApiKey)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, prefix, secret_hash, kind, name, roles, grants, toolsets, user_id, created_at, expires_at, revoked_at,
                    previous_hash, previous_until
                FROM api_keys WHERE id = %s FOR UPDATE
                """,
                (key_id,),
            )
            return await cursor.fetchone()

    async def page(
        self, of_user: UUID | None, wanted: ApiKeysWanted, order: Order, limit: int
    ) -> list[ApiKey]:
        """Revoked and expired ones too; all of them, or one user's."""
        async with self._connection.cursor(row_factory=class_row(ApiKey)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, tenant_id, prefix, secret_hash, kind, name, roles, grants, toolsets, user_id, created_at, expires_at, revoked_at,
                    previous_hash, previous_until
                FROM api_keys
                WHERE (%(of_user)s::uuid IS NULL OR user_id = %(of_user)s) AND {behind}
                    AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
                    AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(role)s::text IS NULL OR %(role)s = ANY (roles))
                    AND (%(user_id)s::uuid IS NULL OR user_id = %(user_id)s)
                    AND (%(in_force)s::boolean IS NULL
                         OR (revoked_at IS NULL AND coalesce(expires_at > now(), true)) = %(in_force)s)
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(_SORTED, order),
                    order=by(_SORTED, order),
                ),
                {"of_user": of_user, "limit": limit, **wanted.model_dump(), **values_of(order)},
            )
            return await cursor.fetchall()

    async def replace(self, key: ApiKey) -> None:
        """Write how the key is called, what it may and until when."""
        await self._connection.execute(
            "UPDATE api_keys SET name = %s, roles = %s, grants = %s, toolsets = %s, expires_at = %s WHERE id = %s",
            (key.name, list(key.roles), list(key.grants), list(key.toolsets), key.expires_at, key.id),
        )

    async def put_secret(self, key: ApiKey) -> None:
        """Write the secret's hash, and that of the one before."""
        await self._connection.execute(
            "UPDATE api_keys SET secret_hash = %s, previous_hash = %s, previous_until = %s WHERE id = %s",
            (key.secret_hash, key.previous_hash, key.previous_until, key.id),
        )

    async def revoke(self, key_id: UUID, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE api_keys SET revoked_at = %s, previous_hash = NULL, previous_until = NULL WHERE id = %s",
            (now, key_id),
        )


async def find_by_prefix(connection: AsyncConnection[TupleRow], prefix: str) -> list[FoundKey]:
    """Keys with this prefix, of any tenant, with what their roles and users may; the caller compares the hash."""
    async with connection.cursor(row_factory=class_row(FoundKey)) as cursor:
        await cursor.execute(
            """
            SELECT id, tenant_id, prefix, secret_hash, kind, name, roles, grants, toolsets, user_id, created_at, expires_at, revoked_at,
                previous_hash, previous_until, role_grants, user_roles, user_grants
            FROM find_credentials(%s)
            """,
            (prefix,),
        )
        return await cursor.fetchall()


async def insert_as_owner(owner_url: str, key: ApiKey, record: AuditRecord | None = None) -> bool:
    """Insert a key with the schema owner's connection, unless its tenant already has one of this prefix; whether it was new.

    `record` goes into the audit log with it. Raises `NotFound` for a tenant that does not exist.
    """
    async with connect_as_owner(owner_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(key.tenant_id),))
        inserted = await _insert(connection, key)
        if inserted and record is not None:
            log = AuditLog(connection)
            await log.append([record])
            await log.flush()
        return inserted


async def _insert(connection: AsyncConnection[TupleRow], key: ApiKey) -> bool:
    try:
        cursor = await connection.execute(
            """
            INSERT INTO api_keys (tenant_id, id, prefix, secret_hash, kind, name, roles, grants, toolsets, user_id, created_at, expires_at)
            SELECT %(tenant_id)s, %(id)s, %(prefix)s, %(secret_hash)s, %(kind)s, %(name)s, %(roles)s, %(grants)s, %(toolsets)s, %(user_id)s,
                %(created_at)s, %(expires_at)s
            WHERE NOT EXISTS (SELECT FROM api_keys WHERE tenant_id = %(tenant_id)s AND prefix = %(prefix)s)
            """,
            {
                **key.model_dump(),
                "roles": list(key.roles),
                "grants": list(key.grants),
                "toolsets": list(key.toolsets),
            },
        )
    except errors.ForeignKeyViolation:
        raise NotFound(f"there is no tenant {key.tenant_id}") from None
    return cursor.rowcount == 1

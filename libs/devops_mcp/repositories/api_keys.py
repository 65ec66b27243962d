"""API keys."""

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import NotFound
from devops_mcp.models.principals import ApiKey
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.owner import connect_as_owner


async def find_by_prefix(connection: AsyncConnection[TupleRow], prefix: str) -> list[ApiKey]:
    """Keys with this prefix, of any tenant; the caller compares the hash."""
    async with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(
            """
            SELECT id, tenant_id, prefix, secret_hash, kind, name, grants, toolsets, created_at, expires_at, revoked_at
            FROM find_api_keys(%s)
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
            await AuditLog(connection).append([record])
        return inserted


async def _insert(connection: AsyncConnection[TupleRow], key: ApiKey) -> bool:
    try:
        cursor = await connection.execute(
            """
            INSERT INTO api_keys (tenant_id, id, prefix, secret_hash, kind, name, grants, toolsets, created_at, expires_at)
            SELECT %(tenant_id)s, %(id)s, %(prefix)s, %(secret_hash)s, %(kind)s, %(name)s, %(grants)s, %(toolsets)s, %(created_at)s,
                   %(expires_at)s
            WHERE NOT EXISTS (SELECT FROM api_keys WHERE tenant_id = %(tenant_id)s AND prefix = %(prefix)s)
            """,
            {**key.model_dump(), "grants": list(key.grants), "toolsets": list(key.toolsets)},
        )
    except errors.ForeignKeyViolation:
        raise NotFound(f"there is no tenant {key.tenant_id}") from None
    return cursor.rowcount == 1

"""API keys."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.principals import ApiKey


async def find_by_prefix(connection: AsyncConnection[TupleRow], prefix: str) -> list[ApiKey]:
    """Keys with this prefix, of any tenant; the caller compares the hash."""
    async with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        await cursor.execute(
            """
            SELECT id, tenant_id, prefix, secret_hash, kind, name, grants, created_at, expires_at, revoked_at
            FROM find_api_keys(%s)
            """,
            (prefix,),
        )
        return await cursor.fetchall()


async def insert_as_owner(owner_url: str, key: ApiKey) -> bool:
    """Insert a key with the schema owner's connection, unless its tenant already has one of this prefix; whether it was new."""
    async with await AsyncConnection.connect(owner_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(key.tenant_id),))
        cursor = await connection.execute(
            """
            INSERT INTO api_keys (tenant_id, id, prefix, secret_hash, kind, name, grants, created_at, expires_at)
            SELECT %(tenant_id)s, %(id)s, %(prefix)s, %(secret_hash)s, %(kind)s, %(name)s, %(grants)s, %(created_at)s, %(expires_at)s
            WHERE NOT EXISTS (SELECT FROM api_keys WHERE tenant_id = %(tenant_id)s AND prefix = %(prefix)s)
            """,
            {**key.model_dump(), "grants": list(key.grants)},
        )
        return cursor.rowcount == 1

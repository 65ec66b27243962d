"""Tenants: one's own, and for who runs the platform all of them."""

from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.accounts import RetentionWanted, Tenant, TenantsWanted
from devops_mcp.models.errors import Conflict
from devops_mcp.models.pages import Order
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed

_SORTED: Columns = {"created_at": "timestamptz", "name": "text"}


class Tenants:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def own(self) -> Tenant | None:
        """The transaction's tenant, which nobody else changes until it ends."""
        async with self._connection.cursor(row_factory=class_row(Tenant)) as cursor:
            await cursor.execute(
                """
                SELECT tenant_id AS id, name, slug, CASE WHEN suspended_at IS NULL THEN 'active' ELSE 'suspended' END AS status, created_at
                FROM tenants WHERE tenant_id = current_tenant() FOR UPDATE
                """
            )
            return await cursor.fetchone()

    async def is_active(self) -> bool:
        """Whether there is the transaction's tenant, and nobody has suspended it."""
        cursor = await self._connection.execute(
            "SELECT 1 FROM tenants WHERE tenant_id = current_tenant() AND suspended_at IS NULL"
        )
        return await cursor.fetchone() is not None

    async def add(self, tenant: Tenant) -> None:
        """Create the transaction's tenant. Raises `Conflict` when its slug names another one."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('devops_mcp.tenants'))")
        cursor = await self._connection.execute("SELECT find_tenant(%s)", (tenant.slug,))
        row = await cursor.fetchone()
        if row is not None and row[0] is not None:
            raise Conflict(f"there is a tenant {tenant.slug!r} already")
        await self._connection.execute(
            "INSERT INTO tenants (tenant_id, name, slug, created_at) VALUES (%s, %s, %s, %s)",
            (tenant.id, tenant.name, tenant.slug, tenant.created_at),
        )

    async def retention(self) -> RetentionWanted:
        """What the transaction's tenant has said of how long it wants what to be kept."""
        async with self._connection.cursor(row_factory=class_row(RetentionWanted)) as cursor:
            await cursor.execute("SELECT event_days, context_days FROM tenant_retention")
            return await cursor.fetchone() or RetentionWanted()

    async def put_retention(self, wanted: RetentionWanted) -> None:
        await self._connection.execute(
            """
            INSERT INTO tenant_retention (event_days, context_days) VALUES (%s, %s)
            ON CONFLICT (tenant_id) DO UPDATE SET
                event_days = excluded.event_days, context_days = excluded.context_days, updated_at = now()
            """,
            (wanted.event_days, wanted.context_days),
        )

    async def rename(self, name: str) -> None:
        await self._connection.execute(
            "UPDATE tenants SET name = %s WHERE tenant_id = current_tenant()", (name,)
        )

    async def put_suspended(self, since: datetime | None) -> None:
        await self._connection.execute(
            "UPDATE tenants SET suspended_at = %s WHERE tenant_id = current_tenant()", (since,)
        )

    async def page_of_all(self, wanted: TenantsWanted, order: Order, limit: int) -> list[Tenant]:
        """Nothing unless the transaction is of the operator's tenant."""
        async with self._connection.cursor(row_factory=class_row(Tenant)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, name, slug, status, created_at
                FROM (
                    SELECT tenant_id AS id, name, slug, CASE WHEN suspended_at IS NULL THEN 'active' ELSE 'suspended' END AS status,
                        created_at
                    FROM list_tenants(NULL, NULL)
                ) AS t
                WHERE {behind} AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(slug)s::text IS NULL OR slug = %(slug)s)
                    AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(_SORTED, order),
                    order=by(_SORTED, order),
                ),
                {**wanted.model_dump(), **values_of(order), "limit": limit},
            )
            return await cursor.fetchall()


async def find_tenant(connection: AsyncConnection[TupleRow], named: str) -> UUID | None:
    """The tenant of this slug or id."""
    cursor = await connection.execute("SELECT find_tenant(%s)", (named,))
    row = await cursor.fetchone()
    found: UUID | None = row[0] if row else None
    return found

"""Integrations that tenants make, and what persons have stored for integrations."""

from uuid import UUID

from psycopg import AsyncConnection, errors, sql
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.errors import Conflict
from devops_mcp.models.integrations import Installed, PersonalCredential, StoredIntegration

_COLUMNS = sql.SQL("""
    id, tenant_id, name, system, read_only, credential_policy, options, sealed, polls, version, created_at, updated_at
""")
_PERSONAL = sql.SQL("integration, user_id, sealed, version, created_at, updated_at")


class StoredIntegrations:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, row: StoredIntegration) -> None:
        """Raises `Conflict` when there is one of the name."""
        try:
            await self._connection.execute(
                """
                INSERT INTO integrations (id, name, system, read_only, credential_policy, options, sealed, polls, created_at, updated_at)
                VALUES (%(id)s, %(name)s, %(system)s, %(read_only)s, %(credential_policy)s, %(options)s, %(sealed)s,
                        %(polls)s, %(created_at)s, %(updated_at)s)
                """,
                _values(row),
            )
        except errors.UniqueViolation:
            raise Conflict(f"there is an integration {row.name!r} already") from None

    async def replace(self, row: StoredIntegration) -> None:
        """Write what may change; the version goes with it."""
        await self._connection.execute(
            """
            UPDATE integrations SET read_only = %(read_only)s, credential_policy = %(credential_policy)s, options = %(options)s,
                sealed = %(sealed)s, polls = %(polls)s, version = %(version)s, updated_at = %(updated_at)s
            WHERE id = %(id)s
            """,
            _values(row),
        )

    async def put_sealed(self, integration_id: UUID, sealed: bytes) -> None:
        """The same content, sealed anew."""
        await self._connection.execute(
            "UPDATE integrations SET sealed = %s WHERE id = %s", (sealed, integration_id)
        )

    async def delete(self, integration_id: UUID) -> None:
        await self._connection.execute("DELETE FROM integrations WHERE id = %s", (integration_id,))

    async def lock_all(self) -> None:
        """Let nobody else add one to the tenant until the transaction ends."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('integrations' || current_tenant()::text, 0))"
        )

    async def all(self) -> list[StoredIntegration]:
        """By name."""
        async with self._connection.cursor(row_factory=class_row(StoredIntegration)) as cursor:
            await cursor.execute(
                sql.SQL("SELECT {columns} FROM integrations ORDER BY name").format(columns=_COLUMNS)
            )
            return await cursor.fetchall()

    async def find(self, name: str, *, for_update: bool = False) -> StoredIntegration | None:
        """By name; `for_update` keeps others from changing it until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(StoredIntegration)) as cursor:
            await cursor.execute(
                sql.SQL("SELECT {columns} FROM integrations WHERE name = %s {lock}").format(
                    columns=_COLUMNS, lock=sql.SQL("FOR UPDATE" if for_update else "")
                ),
                (name,),
            )
            return await cursor.fetchone()

    async def sealed_otherwise(self, key_id: bytes) -> list[StoredIntegration]:
        """Those that were not sealed with this key, which nobody else changes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(StoredIntegration)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM integrations WHERE substring(sealed FOR length(%(key)s::bytea)) <> %(key)s
                ORDER BY id FOR UPDATE
                """).format(columns=_COLUMNS),
                {"key": key_id},
            )
            return await cursor.fetchall()


class PersonalCredentials:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def put(self, row: PersonalCredential) -> PersonalCredential:
        """In place of the one before, if there is one; the row as it is now."""
        async with self._connection.cursor(row_factory=class_row(PersonalCredential)) as cursor:
            await cursor.execute(
                sql.SQL("""
                INSERT INTO personal_credentials (integration, user_id, sealed, version, created_at, updated_at)
                VALUES (%(integration)s, %(user_id)s, %(sealed)s, %(version)s, %(created_at)s, %(updated_at)s)
                ON CONFLICT (tenant_id, integration, user_id) DO UPDATE SET
                    sealed = excluded.sealed, version = excluded.version, updated_at = excluded.updated_at
                RETURNING {columns}
                """).format(columns=_PERSONAL),
                dict(row),
            )
            stored = await cursor.fetchone()
        assert stored is not None
        return stored

    async def put_sealed(self, row: PersonalCredential, sealed: bytes) -> None:
        """The same content, sealed anew."""
        await self._connection.execute(
            "UPDATE personal_credentials SET sealed = %s WHERE integration = %s AND user_id = %s AND version = %s",
            (sealed, row.integration, row.user_id, row.version),
        )

    async def find(self, integration: str, user_id: UUID) -> PersonalCredential | None:
        async with self._connection.cursor(row_factory=class_row(PersonalCredential)) as cursor:
            await cursor.execute(
                sql.SQL(
                    "SELECT {columns} FROM personal_credentials WHERE integration = %s AND user_id = %s"
                ).format(columns=_PERSONAL),
                (integration, user_id),
            )
            return await cursor.fetchone()

    async def lock(self, integration: str) -> None:
        """Until the transaction ends nobody else looks at what is stored for the integration in order to change it."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.own ' || current_tenant()::text || %s, 0))",
            (integration,),
        )

    async def of(self, user_id: UUID) -> list[PersonalCredential]:
        """A person's, by the integration's name."""
        async with self._connection.cursor(row_factory=class_row(PersonalCredential)) as cursor:
            await cursor.execute(
                sql.SQL(
                    "SELECT {columns} FROM personal_credentials WHERE user_id = %s ORDER BY integration"
                ).format(columns=_PERSONAL),
                (user_id,),
            )
            return await cursor.fetchall()

    async def delete(self, integration: str, user_id: UUID) -> bool:
        cursor = await self._connection.execute(
            "DELETE FROM personal_credentials WHERE integration = %s AND user_id = %s", (integration, user_id)
        )
        return cursor.rowcount == 1

    async def delete_all(self, integration: str) -> int:
        """Everybody's, of one integration; how many."""
        cursor = await self._connection.execute(
            "DELETE FROM personal_credentials WHERE integration = %s", (integration,)
        )
        return cursor.rowcount

    async def sealed_otherwise(self, key_id: bytes) -> list[PersonalCredential]:
        """Those that were not sealed with this key, which nobody else changes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(PersonalCredential)) as cursor:
            await cursor.execute(
                sql.SQL("""
                SELECT {columns} FROM personal_credentials WHERE substring(sealed FOR length(%(key)s::bytea)) <> %(key)s
                ORDER BY integration, user_id FOR UPDATE
                """).format(columns=_PERSONAL),
                {"key": key_id},
            )
            return await cursor.fetchall()


def _values(row: StoredIntegration) -> dict[str, object]:
    polls = row.model_dump(mode="json", include={"polls"})["polls"]
    return {**dict(row), "options": Jsonb(row.options), "polls": Jsonb(polls)}


async def installed_integrations(connection: AsyncConnection[TupleRow]) -> list[Installed]:
    """Which integrations there are in all tenants, and which tenants are suspended."""
    async with connection.cursor(row_factory=class_row(Installed)) as cursor:
        await cursor.execute("SELECT tenant_id, suspended, id, version FROM installed_integrations()")
        return await cursor.fetchall()

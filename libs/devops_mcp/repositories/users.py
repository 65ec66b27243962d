"""Users, and what decides about them at login."""

from collections.abc import Mapping
from uuid import UUID

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.accounts import User, UserCredentials, UsersWanted
from devops_mcp.models.audit import AuditRecord
from devops_mcp.models.errors import Conflict, NotFound
from devops_mcp.models.pages import Order
from devops_mcp.repositories.audit import AuditLog
from devops_mcp.repositories.owner import connect_as_owner
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed
from devops_mcp.repositories.stored import stored

_UNIQUE: Mapping[str, str] = {
    "users_tenant_id_username_key": "username",
    "users_tenant_id_email_key": "e-mail address",
}

_SORTED: Columns = {
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "username": "text",
    "name": "text",
}


class Users:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, user: User, password_hash: str | None) -> None:
        """Raises `Conflict` when the tenant has the username or the address already."""
        try:
            await self._connection.execute(
                """
                INSERT INTO users (id, username, email, name, status, roles, grants, password_hash, created_at, updated_at)
                VALUES (%(id)s, %(username)s, %(email)s, %(name)s, %(status)s, %(roles)s, %(grants)s, %(password_hash)s,
                        %(created_at)s, %(updated_at)s)
                """,
                _row(user) | {"password_hash": password_hash},
            )
        except errors.UniqueViolation as error:
            raise _taken(error) from None

    async def replace(self, user: User) -> None:
        """Write what may change; the password has a method of its own. Raises `Conflict` as `add` does."""
        try:
            await self._connection.execute(
                """
                UPDATE users SET username = %(username)s, email = %(email)s, name = %(name)s, status = %(status)s, roles = %(roles)s,
                    grants = %(grants)s, updated_at = %(updated_at)s
                WHERE id = %(id)s
                """,
                _row(user),
            )
        except errors.UniqueViolation as error:
            raise _taken(error) from None

    async def put_password(self, user_id: UUID, password_hash: str | None) -> None:
        await self._connection.execute(
            "UPDATE users SET password_hash = %s, updated_at = now() WHERE id = %s", (password_hash, user_id)
        )

    async def delete(self, user_id: UUID) -> bool:
        """With the user's keys; False when there is none."""
        cursor = await self._connection.execute("DELETE FROM users WHERE id = %s", (user_id,))
        return cursor.rowcount == 1

    async def lock(self, user_id: UUID) -> None:
        """Until the transaction ends nobody else changes this user."""
        await self._connection.execute("SELECT FROM users WHERE id = %s FOR UPDATE", (user_id,))

    async def find(self, user_id: UUID) -> User | None:
        async with self._connection.cursor(row_factory=stored(User)) as cursor:
            await cursor.execute(
                """
                SELECT id, username, email, name, status, roles, grants, password_hash IS NOT NULL AS has_password, created_at, updated_at
                FROM users WHERE id = %s
                """,
                (user_id,),
            )
            return await cursor.fetchone()

    async def page(self, wanted: UsersWanted, order: Order, limit: int) -> list[User]:
        async with self._connection.cursor(row_factory=stored(User)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, username, email, name, status, roles, grants, password_hash IS NOT NULL AS has_password, created_at, updated_at
                FROM users
                WHERE {behind} AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(role)s::text IS NULL OR %(role)s = ANY (roles))
                    AND (%(username)s::text IS NULL OR username = %(username)s) AND (%(email)s::text IS NULL OR email = %(email)s)
                    AND (%(name)s::text IS NULL OR strpos(lower(name), lower(%(name)s)) > 0)
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(_SORTED, order),
                    order=by(_SORTED, order),
                ),
                {"limit": limit, **wanted.model_dump(), **values_of(order)},
            )
            return await cursor.fetchall()

    async def credentials(
        self, *, login: str | None = None, user_id: UUID | None = None
    ) -> UserCredentials | None:
        """By username or e-mail address, or by id; None also when the tenant is suspended."""
        async with self._connection.cursor(row_factory=class_row(UserCredentials)) as cursor:
            await cursor.execute(
                """
                SELECT u.id, u.tenant_id, 'user' AS kind, u.username AS name, u.roles, u.grants, u.username, u.status,
                    u.password_hash, true AS is_user,
                    custom_grants(u.tenant_id, u.roles) AS role_grants
                FROM users AS u JOIN tenants AS t ON t.tenant_id = u.tenant_id
                WHERE t.suspended_at IS NULL AND (u.username = %(login)s OR u.email = %(login)s OR u.id = %(user_id)s)
                """,
                {"login": login, "user_id": user_id},
            )
            return await cursor.fetchone()

    async def lock_owners(self) -> list[UUID]:
        """The active users with the role `owner`; until the transaction ends nobody else changes who they are."""
        await self._connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('devops_mcp.owners ' || current_tenant(), 0))"
        )
        cursor = await self._connection.execute(
            "SELECT id FROM users WHERE status = 'active' AND 'owner' = ANY (roles)"
        )
        return [row[0] for row in await cursor.fetchall()]

    async def any_with_role(self, role: str) -> bool:
        """Whether a user or a key that is in force has the role."""
        cursor = await self._connection.execute(
            """
            SELECT EXISTS (SELECT FROM users WHERE %(role)s = ANY (roles))
                OR EXISTS (SELECT FROM api_keys WHERE %(role)s = ANY (roles) AND revoked_at IS NULL)
            """,
            {"role": role},
        )
        row = await cursor.fetchone()
        return bool(row and row[0])


async def insert_as_owner(
    owner_url: str, tenant_id: UUID, user: User, password_hash: str | None, record: AuditRecord
) -> None:
    """Insert a user with the schema owner's connection.

    Raises `Conflict` as `Users.add` does, `NotFound` for a tenant that does not exist.
    """
    async with connect_as_owner(owner_url) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant_id),))
        try:
            await Users(connection).add(user, password_hash)
        except errors.ForeignKeyViolation:
            raise NotFound(f"there is no tenant {tenant_id}") from None
        log = AuditLog(connection)
        await log.append([record])
        await log.flush()


def _row(user: User) -> dict[str, object]:
    return {**user.model_dump(), "roles": list(user.roles), "grants": list(user.grants)}


def _taken(error: errors.UniqueViolation) -> Conflict:
    what = _UNIQUE.get(error.diag.constraint_name or "", "name")
    return Conflict(f"another user of the tenant has this {what}")

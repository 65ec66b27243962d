"""Roles that are made for a tenant; the built-in ones are in `models/permissions.py`."""

from collections.abc import Sequence

from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow, class_row

from devops_mcp.models.accounts import Role
from devops_mcp.models.errors import Conflict


class Roles:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, role: Role) -> None:
        """Raises `Conflict` when there is one of the name."""
        try:
            await self._connection.execute(
                "INSERT INTO roles (name, description, grants) VALUES (%s, %s, %s)",
                (role.name, role.description, list(role.grants)),
            )
        except errors.UniqueViolation:
            raise Conflict(f"there is a role {role.name!r} already") from None

    async def replace(self, role: Role) -> None:
        await self._connection.execute(
            "UPDATE roles SET description = %s, grants = %s, updated_at = now() WHERE name = %s",
            (role.description, list(role.grants), role.name),
        )

    async def delete(self, name: str) -> None:
        await self._connection.execute("DELETE FROM roles WHERE name = %s", (name,))

    async def find(self, name: str) -> Role | None:
        """The role, which nobody else changes until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(Role)) as cursor:
            await cursor.execute(
                "SELECT name, description, grants FROM roles WHERE name = %s FOR UPDATE", (name,)
            )
            return await cursor.fetchone()

    async def all(self) -> list[Role]:
        """By name."""
        async with self._connection.cursor(row_factory=class_row(Role)) as cursor:
            await cursor.execute("SELECT name, description, grants FROM roles ORDER BY name")
            return await cursor.fetchall()

    async def among(self, names: Sequence[str]) -> list[Role]:
        """Those of these names, as they are until the transaction ends: a role that somebody is just given cannot be deleted."""
        async with self._connection.cursor(row_factory=class_row(Role)) as cursor:
            await cursor.execute(
                "SELECT name, description, grants FROM roles WHERE name = ANY (%s) ORDER BY name FOR SHARE",
                (list(names),),
            )
            return await cursor.fetchall()

"""The removal of everything of a tenant."""

from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.accounts import Erasure


class Erasures:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def add(self, erasure_id: UUID, requested_by: UUID) -> None:
        await self._connection.execute(
            "INSERT INTO erasures (id, requested_by) VALUES (%s, %s)", (erasure_id, requested_by)
        )

    async def page(self, limit: int) -> list[Erasure]:
        """The transaction's tenant's, the latest first."""
        async with self._connection.cursor(row_factory=class_row(Erasure)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, requested_by, requested_at, removed, finished_at FROM erasures ORDER BY id DESC LIMIT %s
                """,
                (limit,),
            )
            return await cursor.fetchall()

    async def lock(self, erasure_id: UUID) -> Erasure | None:
        """The erasure, which nobody else works on until the transaction ends."""
        async with self._connection.cursor(row_factory=class_row(Erasure)) as cursor:
            await cursor.execute(
                """
                SELECT id, tenant_id, requested_by, requested_at, removed, finished_at FROM erasures WHERE id = %s FOR UPDATE
                """,
                (erasure_id,),
            )
            return await cursor.fetchone()

    async def erase_some(self, up_to: int) -> tuple[str, int] | None:
        """Remove rows of one table; its name and how many, or None when there are none left."""
        cursor = await self._connection.execute("SELECT name, removed FROM erase_some(%s)", (up_to,))
        row = await cursor.fetchone()
        return (str(row[0]), int(row[1])) if row else None

    async def count(self, erasure_id: UUID, removed: dict[str, int], *, finished: bool) -> None:
        """Write down what has been removed so far."""
        await self._connection.execute(
            "UPDATE erasures SET removed = %s, finished_at = CASE WHEN %s THEN now() END WHERE id = %s",
            (Jsonb(removed), finished, erasure_id),
        )

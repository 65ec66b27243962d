"""Large things kept apart from their rows: which there are, where their bytes are, and those bytes that are kept here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import class_row

from devops_mcp.models.errors import Conflict
from devops_mcp.repositories.connection import Connection


@dataclass(frozen=True, slots=True)
class BlobRow:
    """`store` is where the bytes are."""

    id: UUID
    store: str
    size: int
    sha256: bytes


class Blobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, blob: BlobRow) -> None:
        """Note a blob before its bytes are written, so that they can be found and removed whatever happens."""
        await self._connection.execute(
            "INSERT INTO blobs (id, store, size, sha256) VALUES (%s, %s, %s, %s)",
            (blob.id, blob.store, blob.size, blob.sha256),
        )

    async def write(self, blob_id: UUID, body: bytes) -> None:
        """Keep the bytes here; they go as they are, where their digits would be twice as many."""
        self._connection.carries(len(body))
        await self._connection.execute(
            "INSERT INTO blob_contents (id, body) VALUES (%s, %b) ON CONFLICT DO NOTHING", (blob_id, body)
        )

    async def read(self, blob_id: UUID) -> bytes | None:
        """The bytes, where they are kept here."""
        async with self._connection.cursor(binary=True) as cursor:
            await cursor.execute("SELECT body FROM blob_contents WHERE id = %s", (blob_id,))
            row = await cursor.fetchone()
        if row is None:
            return None
        self._connection.carries(len(row[0]))
        return bytes(row[0])

    async def find(self, blob_ids: Sequence[UUID]) -> list[BlobRow]:
        async with self._connection.cursor(row_factory=class_row(BlobRow)) as cursor:
            await cursor.execute(
                "SELECT id, store, size, sha256 FROM blobs WHERE id = ANY(%s)", (list(blob_ids),)
            )
            return await cursor.fetchall()

    async def forgotten(self, before: datetime, limit: int) -> list[UUID]:
        """Blobs noted before that time which nothing refers to: what a crash or a deletion has left."""
        cursor = await self._connection.execute(
            """
            SELECT id FROM blobs AS b
            WHERE created_at < %s AND NOT EXISTS (SELECT FROM context_items AS i WHERE i.blob_id = b.id)
                AND NOT EXISTS (SELECT FROM events AS e WHERE e.payload_blob = b.id)
            ORDER BY id LIMIT %s
            """,
            (before, limit),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def remove(self, blob_id: UUID) -> BlobRow | None:
        """Remove a blob that nothing refers to, with the bytes that are kept here; None, and it stays, where something does.

        Raises `Conflict` where something begins to refer to it meanwhile.
        """
        async with self._connection.cursor(row_factory=class_row(BlobRow)) as cursor:
            try:
                await cursor.execute(
                    """
                    DELETE FROM blobs
                    WHERE id = %(id)s AND NOT EXISTS (SELECT FROM context_items WHERE blob_id = %(id)s)
                        AND NOT EXISTS (SELECT FROM events WHERE payload_blob = %(id)s)
                    RETURNING id, store, size, sha256
                    """,
                    {"id": blob_id},
                )
            except ForeignKeyViolation:
                raise Conflict(f"blob {blob_id} is referred to") from None
            return await cursor.fetchone()

"""Files that are attached to contexts, as they are indexed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from devops_mcp.models.blobs import Attachment

FILE_PARTS = 1_000
"""The number of a file's first passage among those of its item; below are those of what is said of the file."""


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file, the item that it came with, and whose context that is in."""

    item_id: UUID
    context_id: UUID
    position: int
    kind: str
    attachment: Attachment
    blob_id: UUID
    created_at: datetime
    title: str
    owner_id: UUID


class AttachedFiles:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def find(self, item_id: UUID) -> AttachedFile | None:
        """The file of an item; also of a context that is not shown yet."""
        cursor = await self._connection.execute(
            """
            SELECT i.id, i.context_id, i.position, i.kind, i.attachment, i.blob_id, i.created_at, c.title, c.owner_id
            FROM context_items AS i JOIN contexts AS c ON c.id = i.context_id
            WHERE i.id = %s AND i.attachment IS NOT NULL AND i.blob_id IS NOT NULL
            """,
            (item_id,),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        id_, context_id, position, kind, attachment, *rest = row
        return AttachedFile(id_, context_id, position, kind, Attachment.model_validate(attachment), *rest)

    async def hold(self, file: AttachedFile) -> bool:
        """Whether its context is still there, or is going to be; it is not removed until the transaction ends."""
        cursor = await self._connection.execute(
            """
            SELECT FROM contexts WHERE id = %s AND (expires_at IS NULL OR expires_at > now() OR taken_in_until IS NOT NULL) FOR KEY SHARE
            """,
            (file.context_id,),
        )
        return cursor.rowcount == 1

    async def within(self, context_id: UUID) -> list[tuple[UUID, Attachment]]:
        """The items of a context that have files, with these."""
        cursor = await self._connection.execute(
            "SELECT id, attachment FROM context_items WHERE context_id = %s AND attachment IS NOT NULL ORDER BY position",
            (context_id,),
        )
        return [(id_, Attachment.model_validate(attachment)) for id_, attachment in await cursor.fetchall()]

"""The items of a context as candidates for a window: where they stand and how long they are, without their texts."""

from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

MAX_ANCHORS = 500
MAX_SUMMARIES = 500


@dataclass(frozen=True, slots=True)
class Mark:
    """An item without its text. `covers_from` and `covers_to` are a summary's."""

    position: int
    tokens: int
    system: bool
    pinned: bool
    covers_from: int | None
    covers_to: int | None

    @property
    def span(self) -> range:
        """The positions that a summary stands for; of another item, none."""
        if self.covers_from is None or self.covers_to is None:
            return range(0)
        return range(self.covers_from, self.covers_to + 1)


_MARK = sql.SQL(
    "SELECT position, tokens, role IS NOT DISTINCT FROM 'system' AS system, pinned, covers_from, covers_to FROM context_items"
)


class ContextWindows:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def anchors(self, context_id: UUID) -> list[Mark]:
        """The system's items, then the pinned ones, each the newest first."""
        where = sql.SQL(
            "{} WHERE context_id = %s AND (pinned OR role = 'system') ORDER BY system DESC, position DESC LIMIT %s"
        )
        return await self._marks(where, context_id, MAX_ANCHORS)

    async def before(self, context_id: UUID, position: int, limit: int) -> list[Mark]:
        """Items below a position, the newest first."""
        where = sql.SQL("{} WHERE context_id = %s AND position < %s ORDER BY position DESC LIMIT %s")
        return await self._marks(where, context_id, position, limit)

    async def summaries(self, context_id: UUID) -> list[Mark]:
        """Summaries by the last position they stand for, the newest and the widest first."""
        where = sql.SQL(
            "{} WHERE context_id = %s AND covers_to IS NOT NULL ORDER BY covers_to DESC, covers_from, position DESC LIMIT %s"
        )
        return await self._marks(where, context_id, MAX_SUMMARIES)

    async def at(self, context_id: UUID, positions: list[int]) -> list[Mark]:
        """The items at these positions, in any order."""
        where = sql.SQL("{} WHERE context_id = %s AND position = ANY(%s)")
        return await self._marks(where, context_id, positions)

    async def _marks(self, query: sql.SQL, *arguments: object) -> list[Mark]:
        async with self._connection.cursor(row_factory=class_row(Mark)) as cursor:
            await cursor.execute(query.format(_MARK), arguments)
            return await cursor.fetchall()

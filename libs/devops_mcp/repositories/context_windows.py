"""The items of a context as candidates for a window: where they stand and how long they are, without their texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, args_row

from devops_mcp.repositories.passage_search import Groundwork, QueryVector, arguments, sketched

MAX_ANCHORS = 500
MAX_SUMMARIES = 500


class Mark(NamedTuple):
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
_SUMMARIES = sql.SQL(
    "{} WHERE context_id = %(context)s AND covers_to IS NOT NULL ORDER BY covers_to DESC, covers_from, position DESC LIMIT %(summaries)s"
).format(_MARK)
# The range has two ends: with one, and a limit, the planner of a database with few contexts reads and sorts the whole of this one.
_BEFORE = sql.SQL(
    "{} WHERE context_id = %(context)s AND position < %(before)s AND position >= %(from)s"
).format(_MARK)
_ALL = sql.SQL(
    """SELECT 1 AS part, a.* FROM ({mark} WHERE context_id = %(context)s AND (pinned OR role = 'system')
                                  ORDER BY system DESC, position DESC LIMIT %(anchors)s) AS a
    UNION ALL SELECT 2, s.* FROM ({summaries}) AS s
    UNION ALL SELECT 3, r.* FROM ({before}) AS r"""
).format(mark=_MARK, summaries=_SUMMARIES, before=_BEFORE)
# Each by its key: joined, the planner of a database with few contexts reads all items instead.
_FOUND = sql.SQL(
    """SELECT i.*, best.text FROM best CROSS JOIN LATERAL (
           {mark} WHERE context_id = best.context_id AND position = (best.metadata->>'position')::integer LIMIT 1) AS i"""
).format(mark=_MARK)


@dataclass(frozen=True, slots=True)
class Marks:
    """Candidates for a window.

    `anchors`: the system's items, then the pinned ones, each the newest first; `summaries` by the last position that they stand for, the
    newest and the widest first; `recent` the newest first.
    """

    anchors: list[Mark]
    summaries: list[Mark]
    recent: list[Mark]


class Found(NamedTuple):
    """An item that a search found, by which of its passages."""

    mark: Mark
    passage: str


class Shown(NamedTuple):
    """What is shown of an item. A text of which this is the beginning only is kept in `blob_id`."""

    position: int
    kind: str
    role: str | None
    text: str
    blob_id: UUID | None
    created_at: datetime


class ContextWindows:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def marks(self, context_id: UUID, recent: range) -> Marks:
        """The candidates that no search is needed for: `recent` are the positions of the latest."""
        cursor = await self._connection.execute(
            _ALL,
            {
                "context": context_id,
                "anchors": MAX_ANCHORS,
                "summaries": MAX_SUMMARIES,
                "before": recent.stop,
                "from": recent.start,
            },
        )
        parts: tuple[list[Mark], ...] = ([], [], [])
        for part, *values in await cursor.fetchall():
            parts[part - 1].append(Mark(*values))
        anchors, summaries, latest = parts
        return Marks(
            sorted(anchors, key=lambda mark: (not mark.system, -mark.position)),
            sorted(summaries, key=_by_span),
            _newest_first(latest),
        )

    async def found(self, ground: Groundwork, vectors: Sequence[QueryVector], limit: int) -> list[Found]:
        """What a search within one context finds, the best first; of an item each of its passages. `ground` filters by the context only."""
        statement = _found(tuple(len(vector.values) for vector in vectors))
        cursor = await self._connection.execute(statement, arguments(ground, vectors, limit))
        return [Found(Mark(*mark), passage) for *mark, passage in await cursor.fetchall()]

    async def between(self, context_id: UUID, positions: range) -> list[Mark]:
        """The items at these positions, the newest first."""
        wanted = {"context": context_id, "before": positions.stop, "from": positions.start}
        return _newest_first(await self._marks(_BEFORE, wanted))

    async def summaries(self, context_id: UUID) -> list[Mark]:
        """Summaries by the last position they stand for, the newest and the widest first."""
        return await self._marks(_SUMMARIES, {"context": context_id, "summaries": MAX_SUMMARIES})

    async def shown(self, context_id: UUID, positions: Sequence[int]) -> list[Shown]:
        """What is shown of the items at these positions, in any order."""
        async with self._connection.cursor(row_factory=args_row(Shown)) as cursor:
            await cursor.execute(
                """
                SELECT position, kind, role, text, CASE WHEN attachment IS NULL THEN blob_id END, created_at
                FROM context_items WHERE context_id = %s AND position = ANY(%s::integer[])
                """,
                (context_id, f"{{{','.join(map(str, positions))}}}"),
            )
            return await cursor.fetchall()

    async def _marks(self, query: sql.Composed, arguments: dict[str, object]) -> list[Mark]:
        async with self._connection.cursor(row_factory=args_row(Mark)) as cursor:
            await cursor.execute(query, arguments)
            return await cursor.fetchall()


@lru_cache(maxsize=100)
def _found(dimensions: tuple[int, ...]) -> bytes:
    """As text it is known again, by the server too, which plans it a few times only."""
    return sketched(dimensions, _FOUND).as_bytes(None)


def _newest_first(marks: list[Mark]) -> list[Mark]:
    return sorted(marks, key=lambda mark: -mark.position)


def _by_span(mark: Mark) -> tuple[int, int, int]:
    assert mark.covers_from is not None
    assert mark.covers_to is not None
    return -mark.covers_to, mark.covers_from, -mark.position

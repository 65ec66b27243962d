"""Searchable passages: indexed by words at once, by meaning when their vector comes; found by both."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pgvector import HalfVector
from psycopg.rows import class_row

from devops_mcp.models.passages import Hit, Neighbour, NewPassage
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.passage_neighbours import neighbours
from devops_mcp.repositories.passage_search import (
    PLAIN,
    Groundwork,
    QueryVector,
    Ranking,
    SearchFilter,
    groundwork,
    search,
)
from devops_mcp.repositories.rows import rows

__all__ = ["Groundwork", "Passages", "QueryVector", "Ranking", "SearchFilter", "Unembedded", "Whose"]

_ADD = """
    INSERT INTO passages (id, owner_id, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata)
    SELECT id, %s, kind, source_id, part, context_id, title, text, uri, occurred_at, metadata
    FROM jsonb_to_recordset(%s::jsonb)
         AS p (id uuid, kind text, source_id uuid, part integer, context_id uuid, title text, text text, uri text,
               occurred_at timestamptz, metadata jsonb)
    ON CONFLICT (tenant_id, kind, source_id, part) DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Whose:
    """One owner's passages; with None those that are the tenant's, and those of all owners but `others`."""

    owner_id: UUID | None
    others: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A passage's text, for its vector; whose it is, and the space of the vector that it has."""

    id: UUID
    owner_id: UUID | None
    title: str
    text: str
    space: str | None


class Passages:
    def __init__(self, connection: Connection, tenant_id: UUID) -> None:
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, passages: Sequence[tuple[UUID, NewPassage]], *, owner_id: UUID | None) -> list[UUID]:
        """Index passages under the given ids; those indexed before are left as they are. The ids that are new."""
        cursor = await self._connection.execute(_ADD, _added(passages, owner_id))
        return [row[0] for row in await cursor.fetchall()]

    def put(self, passages: Sequence[tuple[UUID, NewPassage]], *, owner_id: UUID | None) -> None:
        """As `add`, with the next statement; which were new nobody is told."""
        self._connection.defer(_ADD, _added(passages, owner_id))

    async def drop_outdated(self, kind: str, source_ids: Sequence[UUID], now: Sequence[NewPassage]) -> int:
        """Remove the sources' passages that are not, word for word, among those they have now; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM passages AS p WHERE p.kind = %s AND p.source_id = ANY(%s) AND NOT EXISTS (
                SELECT FROM jsonb_to_recordset(%s::jsonb) AS n (source_id uuid, part integer, title text, text text)
                WHERE n.source_id = p.source_id AND n.part = p.part AND n.title = p.title AND n.text = p.text)
            """,
            (
                kind,
                list(source_ids),
                rows(
                    {k: passage.__dict__[k] for k in ("source_id", "part", "title", "text")}
                    for passage in now
                ),
            ),
        )
        return cursor.rowcount

    async def forget_events(self, before: UUID, limit: int) -> int:
        """Remove up to `limit` passages of events whose id is before this one; how many."""
        cursor = await self._connection.execute(
            """
            DELETE FROM passages WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM passages WHERE kind = 'event' AND source_id < %s LIMIT %s))
            """,
            (before, limit),
        )
        return cursor.rowcount

    async def texts(self, passage_ids: Sequence[UUID]) -> list[Unembedded]:
        """The passages' texts; those deleted meanwhile are left out."""
        async with self._connection.cursor(row_factory=class_row(Unembedded)) as cursor:
            await cursor.execute(
                "SELECT id, owner_id, title, text, space FROM passages WHERE id = ANY(%s) ORDER BY id",
                (list(passage_ids),),
            )
            return await cursor.fetchall()

    async def outside(
        self, space: str, whose: Whose, *, after: UUID, up_to: UUID | None = None, limit: int
    ) -> list[UUID]:
        """The first passages in the order of their ids, after and up to these, whose vector is none of `space`."""
        cursor = await self._connection.execute(
            """
            SELECT id FROM passages
            WHERE id > %(after)s AND (%(up_to)s::uuid IS NULL OR id <= %(up_to)s) AND space IS DISTINCT FROM %(space)s
                AND CASE WHEN %(owner)s::uuid IS NULL THEN owner_id IS NULL OR owner_id <> ALL(%(others)s)
                         ELSE owner_id = %(owner)s END
            ORDER BY id LIMIT %(limit)s
            """,
            {
                "after": after,
                "up_to": up_to,
                "space": space,
                "owner": whose.owner_id,
                "others": list(whose.others),
                "limit": limit,
            },
        )
        return [row[0] for row in await cursor.fetchall()]

    async def spaces(self, principal_id: UUID, *, any_owner: bool) -> dict[str, int]:
        """The spaces that passages of the tenant lie in, with how many of each the principal may see.

        Where all lie in one, which is usual, they are not counted: it is said to hold one.
        """
        cursor = await self._connection.execute(
            """
            WITH RECURSIVE used AS (
                (SELECT space FROM passages WHERE space IS NOT NULL ORDER BY space LIMIT 1)
                UNION ALL
                SELECT (SELECT p.space FROM passages AS p WHERE p.space > used.space ORDER BY p.space LIMIT 1)
                FROM used WHERE used.space IS NOT NULL)
            SELECT space FROM used WHERE space IS NOT NULL
            """
        )
        used = [row[0] for row in await cursor.fetchall()]
        if len(used) < 2:
            return dict.fromkeys(used, 1)
        cursor = await self._connection.execute(
            """
            SELECT space, count(*) FROM passages
            WHERE space = ANY(%s) AND (%s OR owner_id IS NULL OR owner_id = %s) GROUP BY space
            """,
            (used, any_owner, principal_id),
        )
        return {row[0]: row[1] for row in await cursor.fetchall()}

    async def set_vectors(self, space: str, vectors: Sequence[tuple[UUID, Sequence[float]]]) -> None:
        """Give passages their vectors; a passage deleted meanwhile is left out."""
        await self._connection.execute(
            """
            UPDATE passages AS p SET space = %s, embedding = v.embedding::halfvec
            FROM unnest(%s::uuid[], %s::text[]) AS v (id, embedding) WHERE p.id = v.id
            """,
            (
                space,
                [id_ for id_, _ in vectors],
                [HalfVector(list(values)).to_text() for _, values in vectors],
            ),
        )

    async def groundwork(self, query: str, wanted: SearchFilter, ranking: Ranking = PLAIN) -> Groundwork:
        """What of a search needs no vector, for `finish`; it may be done in an earlier transaction."""
        return await groundwork(self._connection, self._tenant_id, query, wanted, ranking)

    async def finish(self, ground: Groundwork, vectors: Sequence[QueryVector], limit: int) -> list[Hit]:
        """The best passages: words and, where there are vectors, meaning, fused by reciprocal rank."""
        return await search(self._connection, ground, vectors, limit)

    async def search(
        self,
        query: str,
        vectors: Sequence[QueryVector],
        wanted: SearchFilter,
        limit: int,
        ranking: Ranking = PLAIN,
    ) -> list[Hit]:
        """Both at once, for who has the vectors."""
        return await self.finish(await self.groundwork(query, wanted, ranking), vectors, limit)

    async def neighbours(
        self, hits: Sequence[Hit], count: int, wanted: SearchFilter
    ) -> dict[UUID, list[Neighbour]]:
        """Up to `count` before and after each hit, in order, by the hit's id."""
        return await neighbours(self._connection, hits, count, wanted)


def _added(passages: Sequence[tuple[UUID, NewPassage]], owner_id: UUID | None) -> tuple[UUID | None, str]:
    return owner_id, rows({"id": id_, **passage.__dict__} for id_, passage in passages)

"""Facts on their lines of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from devops_mcp.models.facts import Fact, NewFact


@dataclass(frozen=True, slots=True)
class FactFilter:
    """`subject` may hold `*`; `history` includes what no longer was so at `as_of`."""

    as_of: datetime
    subject: str | None = None
    predicate: str | None = None
    history: bool = False


class Facts:
    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def record(self, facts: Sequence[tuple[UUID, NewFact]]) -> None:
        """Put facts, under the given ids, on their lines; one that its event has told before is left as it is.

        The lines are locked, so that two workers see each other's facts and each ends where the next begins.
        """
        keys = sorted({(fact.subject, fact.predicate, fact.qualifier) for _, fact in facts})
        await self._connection.execute(
            """
            SELECT pg_advisory_xact_lock(hashtextextended(current_tenant() || line, 0))
            FROM unnest(%s::text[]) WITH ORDINALITY AS k (line, n) ORDER BY n
            """,
            (["\n".join(key) for key in keys],),
        )
        await self._insert([fact for _, fact in facts], [id_ for id_, _ in facts])
        await self._close_lines(keys, [fact for _, fact in facts])

    async def as_of(self, wanted: FactFilter, after: UUID | None, limit: int) -> list[Fact]:
        """Facts, the latest begun first, from behind the fact `after`."""
        async with self._connection.cursor(row_factory=class_row(Fact)) as cursor:
            await cursor.execute(
                """
                SELECT id, subject, predicate, qualifier, value, valid_from, valid_until, event_id, event_type, source FROM facts
                WHERE value IS NOT NULL AND valid_from <= %(as_of)s
                    AND (valid_until IS NULL OR valid_until > valid_from)
                    AND (%(history)s OR valid_until IS NULL OR valid_until > %(as_of)s)
                    AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(pattern)s::text IS NULL OR subject LIKE %(pattern)s)
                    AND (%(predicate)s::text IS NULL OR predicate = %(predicate)s)
                    AND (%(after)s::uuid IS NULL OR (valid_from, id) < (SELECT valid_from, id FROM facts WHERE id = %(after)s))
                ORDER BY valid_from DESC, id DESC LIMIT %(limit)s
                """,
                {
                    "as_of": wanted.as_of,
                    "history": wanted.history,
                    "subject": None if _is_pattern(wanted.subject) else wanted.subject,
                    "pattern": _like(wanted.subject),
                    "predicate": wanted.predicate,
                    "after": after,
                    "limit": limit,
                },
            )
            return await cursor.fetchall()

    async def _insert(self, facts: Sequence[NewFact], ids: Sequence[UUID]) -> None:
        await self._connection.execute(
            """
            INSERT INTO facts (id, subject, predicate, qualifier, value, valid_from, event_id, event_type, source)
            SELECT f.* FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::timestamptz[], %s::uuid[], %s::text[],
                                   %s::text[]) AS f
            ON CONFLICT DO NOTHING
            """,
            (
                list(ids),
                [fact.subject for fact in facts],
                [fact.predicate for fact in facts],
                [fact.qualifier for fact in facts],
                [None if fact.value is None else Jsonb(fact.value) for fact in facts],
                [fact.valid_from for fact in facts],
                [fact.event_id for fact in facts],
                [fact.event_type for fact in facts],
                [fact.source for fact in facts],
            ),
        )

    async def _close_lines(self, keys: Sequence[tuple[str, str, str]], facts: Sequence[NewFact]) -> None:
        """Let each fact end where the next of its line begins, from the one before the first new one on."""
        first = [
            min(f.valid_from for f in facts if (f.subject, f.predicate, f.qualifier) == key) for key in keys
        ]
        await self._connection.execute(
            """
            WITH lines AS (
                SELECT k.subject, k.predicate, k.qualifier, coalesce((
                    SELECT max(f.valid_from) FROM facts AS f
                    WHERE f.subject = k.subject AND f.predicate = k.predicate AND f.qualifier = k.qualifier AND f.valid_from < k.first
                ), k.first) AS first
                FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS k (subject, predicate, qualifier, first)
            ), ordered AS (
                SELECT of_line.id, of_line.next FROM lines AS l CROSS JOIN LATERAL (
                    -- Line by line through the index: a join would read every fact of the tenant.
                    SELECT f.id, lead(f.valid_from) OVER (ORDER BY f.valid_from, f.event_id) AS next FROM facts AS f
                    WHERE f.subject = l.subject AND f.predicate = l.predicate AND f.qualifier = l.qualifier AND f.valid_from >= l.first
                ) AS of_line
            )
            UPDATE facts AS f SET valid_until = o.next FROM ordered AS o WHERE f.id = o.id AND f.valid_until IS DISTINCT FROM o.next
            """,
            ([key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys], first),
        )


def _is_pattern(subject: str | None) -> bool:
    return subject is not None and "*" in subject


def _like(subject: str | None) -> str | None:
    if subject is None or "*" not in subject:
        return None
    escaped = subject.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")

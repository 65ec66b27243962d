"""Facts on their lines of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from devops_mcp.models.facts import Fact, NewFact
from devops_mcp.models.pages import Order
from devops_mcp.repositories.connection import Connection
from devops_mcp.repositories.rows import rows
from devops_mcp.repositories.sorting import Columns, behind, by, values_of
from devops_mcp.repositories.statements import composed

_SORTED: Columns = {"valid_from": "timestamptz"}
_RECORD = """
    WITH given AS MATERIALIZED (
        SELECT g.* FROM jsonb_to_recordset(%s::jsonb) AS g (id uuid, subject text, predicate text, qualifier text, value jsonb,
                                                            valid_from timestamptz, event_id uuid, event_type text, source text)
    ), lines AS MATERIALIZED (
        SELECT subject, predicate, qualifier, coalesce((
            SELECT f.valid_from FROM facts AS f
            WHERE f.subject = l.subject AND f.predicate = l.predicate AND f.qualifier = l.qualifier AND f.valid_from < l.first
            ORDER BY f.valid_from DESC, f.event_id DESC LIMIT 1
        ), first) AS since
        FROM (SELECT subject, predicate, qualifier, min(valid_from) AS first FROM given GROUP BY subject, predicate, qualifier) AS l
    ), stored AS MATERIALIZED (
        SELECT subject, predicate, qualifier, of_line.* FROM lines AS l CROSS JOIN LATERAL (
            SELECT f.id, f.ctid AS place, f.valid_from, f.valid_until, f.event_id FROM facts AS f
            WHERE f.subject = l.subject AND f.predicate = l.predicate AND f.qualifier = l.qualifier AND f.valid_from >= l.since
            ORDER BY f.valid_from, f.event_id OFFSET 0
        ) AS of_line
    ), fresh AS (
        SELECT given.* FROM given LEFT JOIN stored USING (subject, predicate, qualifier, event_id) WHERE place IS NULL
    ), ordered AS MATERIALIZED (
        SELECT id, place, valid_until,
               lead(valid_from) OVER (PARTITION BY subject, predicate, qualifier ORDER BY valid_from, event_id) AS next
        FROM (
            SELECT id, place, valid_until, subject, predicate, qualifier, valid_from, event_id FROM stored
            UNION ALL
            SELECT id, NULL, NULL, subject, predicate, qualifier, valid_from, event_id FROM fresh
        ) AS of_lines
    ), ended AS (
        UPDATE facts AS f SET valid_until = (SELECT o.next FROM ordered AS o WHERE o.id = f.id)
        WHERE ctid = ANY (ARRAY(SELECT place FROM ordered WHERE place IS NOT NULL AND valid_until IS DISTINCT FROM next))
    )
    INSERT INTO facts (id, subject, predicate, qualifier, value, valid_from, valid_until, event_id, event_type, source)
    SELECT id, subject, predicate, qualifier, value, valid_from, next, event_id, event_type, source FROM fresh JOIN ordered USING (id)
    ON CONFLICT DO NOTHING
"""
"""Each fact ends where the next of its line begins, whichever of the two came first. `stored` is of each line what is there from right
before its first given fact on, so that a long line costs no more than a short one.

Orders, `OFFSET 0` and `ctid` lead a planner that has not yet seen the table grow: it would choose another index, or read all of it.
"""


@dataclass(frozen=True, slots=True)
class FactFilter:
    """`subject` may hold `*`; `history` includes what no longer was so at `as_of`."""

    as_of: datetime
    subject: str | None = None
    predicate: str | None = None
    history: bool = False


class Facts:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, facts: Sequence[tuple[UUID, NewFact]]) -> None:
        """Put facts, under the given ids, on their lines, with the next statement; one that its event has told before is left as it is.

        The lines are locked, so that two workers see each other's facts and each ends where the next begins.
        """
        lines = sorted({"\n".join((fact.subject, fact.predicate, fact.qualifier)) for _, fact in facts})
        self._connection.defer(
            """
            SELECT pg_advisory_xact_lock(hashtextextended(current_tenant() || line, 0))
            FROM unnest(%s::text[]) WITH ORDINALITY AS k (line, n) ORDER BY n
            """,
            (lines,),
        )
        self._connection.defer(_RECORD, (rows({"id": id_, **fact.__dict__} for id_, fact in facts),))

    async def as_of(self, wanted: FactFilter, order: Order, limit: int) -> list[Fact]:
        async with self._connection.cursor(row_factory=class_row(Fact)) as cursor:
            await cursor.execute(
                composed(
                    """
                SELECT id, subject, predicate, qualifier, value, valid_from, valid_until, event_id, event_type, source FROM facts
                WHERE value IS NOT NULL AND valid_from <= %(as_of)s
                    AND (valid_until IS NULL OR valid_until > valid_from)
                    AND (%(history)s OR valid_until IS NULL OR valid_until > %(as_of)s)
                    AND (%(subject)s::text IS NULL OR subject = %(subject)s) AND (%(pattern)s::text IS NULL OR subject LIKE %(pattern)s)
                    AND (%(predicate)s::text IS NULL OR predicate = %(predicate)s)
                    AND {behind}
                ORDER BY {order} LIMIT %(limit)s
                """,
                    behind=behind(_SORTED, order),
                    order=by(_SORTED, order),
                ),
                {
                    "as_of": wanted.as_of,
                    "history": wanted.history,
                    "subject": None if _is_pattern(wanted.subject) else wanted.subject,
                    "pattern": _like(wanted.subject),
                    "predicate": wanted.predicate,
                    **values_of(order),
                    "limit": limit,
                },
            )
            return await cursor.fetchall()


def _is_pattern(subject: str | None) -> bool:
    return subject is not None and "*" in subject


def _like(subject: str | None) -> str | None:
    if subject is None or "*" not in subject:
        return None
    escaped = subject.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")
